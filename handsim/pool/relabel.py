"""Giving hands of a pool another video, another label or another side; their ids stay as they are."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import mirror_points
from handsim.hand import SIDES, Side
from handsim.pool import layout
from handsim.pool.crop_hashes import forget_hashes
from handsim.pool.crops import TarFiles, copy_crops
from handsim.pool.generations import changing, link_or_copy, next_generation
from handsim.pool.row_cache import forget_rows
from handsim.skeleton import JOINT_COUNT


def relabel(pool: Path, videos: Mapping[int, str], labels: Mapping[int, str | None]) -> int:
    """Set the videos and labels of hands by their ids; returns how many hands had another one before.

    An id that the pool does not hold is passed over; a label None takes the label away. Each part changes as
    a whole: after a kill between two of them, the same call changes the rest. Raises HandsimError while the
    pool is being written, also by a `PoolWriter` of this process.
    """
    return _change(pool, {"video": videos, "label": labels})


def change_sides(pool: Path, sides: Mapping[int, Side]) -> int:
    """Set the sides of hands by their ids; returns how many had another one before, or none.

    Keypoints and crop are then those of a right hand again: where a hand becomes a left one or was taken for
    one, they are mirrored, and the crop's JPEG is encoded once more. What is cached of such a crop is
    forgotten. Ids, kills and errors are as for `relabel`. Raises HandsimError also for a side that is
    neither left nor right, and for a damaged crop that is to be mirrored.
    """
    for side in sides.values():
        if side not in SIDES:
            raise HandsimError(f"a hand cannot become {side!r}; it is one of {', '.join(SIDES)}")
    return _change(pool, {"side": sides})


def _change(pool: Path, changes: Mapping[str, Mapping[int, Any]]) -> int:
    """Change columns by hand id, part by part; returns how many hands, without removed ones, differed."""
    changed = 0
    with changing(pool), closing(TarFiles(pool)) as tars:
        removed = layout.read_removed(pool)
        for number, part in enumerate(tars.parts):
            before = layout.read_columns(part, layout.HANDS_FILE, ["hand_id", *changes]).to_pydict()
            ids = before["hand_id"]
            after = {
                name: [values.get(hand_id, old) for hand_id, old in zip(ids, before[name], strict=True)]
                for name, values in changes.items()
            }
            differs = np.array(
                [[a != b for a, b in zip(after[name], before[name], strict=True)] for name in changes]
            ).any(axis=0)
            if not differs.any():
                continue
            changed += int((differs & ~layout.are_removed(np.array(ids, dtype=np.uint64), removed)).sum())
            _rewrite(tars, number, after)
    return changed


def _rewrite(tars: TarFiles, number: int, values: Mapping[str, list[Any]]) -> None:
    """The next generation of a part, with other values in some of its columns."""
    part = tars.parts[number]
    before = layout.read_columns(part, layout.HANDS_FILE, None)
    hands = before
    for name, column in values.items():
        hands = layout.with_column(hands, name, column)
    was_left, is_left = (np.array(table["side"].to_pylist()) == "left" for table in (before, hands))
    turned: NDArray[np.uint64] = hands["hand_id"].to_numpy()[was_left != is_left]
    if turned.size:
        hands = _mirror_joints(hands, was_left != is_left)
        # Before the crops change: killed in between, rows are missing that would have been right.
        forget_hashes(part.parent.parent, turned)
        forget_rows(part.parent.parent, turned)
    with next_generation(part) as writing:
        if turned.size:
            hands = copy_crops(tars, number, hands, writing, mirrored=set(turned.tolist()))
        else:
            link_or_copy(part, layout.CROPS_FILE, writing)
        layout.write_hands(hands, writing)
        link_or_copy(part, layout.ITEMS_FILE, writing)


def _mirror_joints(hands: pa.Table, which: NDArray[np.bool_]) -> pa.Table:
    """Keypoints and true joints of ``which`` [N] hands, mirrored."""
    flat = hands["keypoints"].combine_chunks().flatten().to_numpy().reshape(-1, JOINT_COUNT, 3)
    keypoints = np.where(which[:, None, None], mirror_points(flat, 1.0), flat)
    hands = layout.with_column(hands, "keypoints", list(keypoints.reshape(len(hands), -1)))
    if "joints_mm" not in hands.column_names:
        return hands
    mirror = np.tile(np.array([-1, 1, 1], dtype=np.float32), JOINT_COUNT)
    joints = [
        np.array(values, dtype=np.float32) * mirror if values is not None and turned else values
        for values, turned in zip(hands["joints_mm"].to_pylist(), which.tolist(), strict=True)
    ]
    return layout.with_column(hands, "joints_mm", joints)

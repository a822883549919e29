"""Giving hands of a pool another video or another label; their ids stay as they are."""

from collections.abc import Mapping
from pathlib import Path

from handsim.pool import layout
from handsim.pool.generations import changing, link_or_copy, next_generation


def relabel(pool: Path, videos: Mapping[int, str], labels: Mapping[int, str | None]) -> int:
    """Set the videos and labels of hands by their ids; returns how many hands had another one before.

    An id that the pool does not hold is passed over; a label None takes the label away. Each part changes as
    a whole: after a kill between two of them, the same call changes the rest. Raises HandsimError while the
    pool is being written, also by a `PoolWriter` of this process.
    """
    changed = 0
    with changing(pool):
        hidden = set(layout.read_removed(pool).tolist())
        for part in layout.published_parts(pool):
            before = layout.read_columns(part, layout.HANDS_FILE, ["hand_id", "video", "label"]).to_pydict()
            ids = before["hand_id"]
            after = {
                "video": [videos.get(hand, old) for hand, old in zip(ids, before["video"], strict=True)],
                "label": [labels.get(hand, old) for hand, old in zip(ids, before["label"], strict=True)],
            }
            if all(after[name] == before[name] for name in after):
                continue
            rows = zip(ids, before["video"], after["video"], before["label"], after["label"], strict=True)
            changed += sum((a, c) != (b, d) and hand not in hidden for hand, a, b, c, d in rows)
            _rewrite(part, after)
    return changed


def _rewrite(part: Path, values: Mapping[str, list[str | None]]) -> None:
    hands = layout.read_columns(part, layout.HANDS_FILE, None)
    for name, column in values.items():
        hands = layout.with_column(hands, name, column)
    with next_generation(part) as writing:
        layout.write_hands(hands, writing)
        for file in (layout.ITEMS_FILE, layout.CROPS_FILE):
            link_or_copy(part, file, writing)

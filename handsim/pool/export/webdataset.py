"""WebDataset shards: ``000000.tar``, ``000001.tar``, ... with ``<id>.jpg`` and ``<id>.json`` of each hand."""

import io
import json
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from handsim.coco import ENLARGEMENT
from handsim.files import creating
from handsim.geometry import CROP_ENLARGEMENT
from handsim.hand import Hand, format_hand_id
from handsim.pool.export.hands import ExportedHands, Progress

SHARD_HANDS: Final = 5_000
"""About 50 MB of crops."""
FEWEST_SHARDS: Final = 8
"""A process that loads needs a shard of its own: with more processes than shards some get nothing."""


def write_webdataset(
    out: Path,
    hands: ExportedHands,
    progress: Progress,
    *,
    shard_hands: int = SHARD_HANDS,
    fewest_shards: int = FEWEST_SHARDS,
) -> str:
    """Write hands with pictures into a new folder ``out``; returns a line of Python that opens it.

    A shard has at most ``shard_hands`` hands, all nearly as many. There are at least ``fewest_shards``, but
    none is empty. The order of the hands is that of the shards.
    """
    shards = min(len(hands), max(fewest_shards, -(-len(hands) // shard_hands)))
    read = hands.read(progress)
    with creating(out) as folder:
        folder.mkdir()
        for number, rows in enumerate(np.array_split(hands.rows, shards)):
            with tarfile.open(folder / f"{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as shard:
                for hand in islice(read, len(rows)):
                    key = format_hand_id(hand.hand_id)
                    _add(shard, f"{key}.jpg", hands.pool.stored_jpeg(hand.hand_id))
                    _add(shard, f"{key}.json", _to_json(hand, hands.describe(hand)))
    urls = str(out / (f"{{000000..{shards - 1:06d}}}.tar" if shards > 1 else "000000.tar"))
    return (
        f"import webdataset as wds; hands = wds.WebDataset({urls!r}, shardshuffle=False)"
        '.decode("rgb8").to_tuple("jpg", "json")'
    )


def _to_json(hand: Hand, description: dict[str, Any]) -> bytes:
    """The description with keypoints [21][3] in the picture's unit square, null for an unlabelled joint."""
    points = np.round(hand.picture_keypoints.astype(np.float64), 6).tolist()
    keypoints = [
        point if labelled else None for point, labelled in zip(points, hand.joint_mask.tolist(), strict=True)
    ]
    if hand.crop_enlargement != CROP_ENLARGEMENT:
        description = {**description, ENLARGEMENT: hand.crop_enlargement}
    return json.dumps({**description, "keypoints": keypoints}).encode()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))

"""A FiftyOne dataset on disk: ``metadata.json``, ``samples.json`` and the crops in ``data``.

The format is that of ``fiftyone.types.FiftyOneDataset`` in its portable form: one without the key ``version``
holds samples only, not the tables of a certain release, and all releases since 0.8 read it. A sample's
keypoints are relative to its picture, as ours are; a point that is missing is NaN, which FiftyOne (1.22.1)
reads as Python writes it, and in MongoDB's own notation does not.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from handsim.files import creating, write_json_list
from handsim.hand import Hand
from handsim.pool.export.hands import ExportedHands, Progress
from handsim.skeleton import BONES, JOINT_NAMES

_METADATA: Final = {
    "media_type": "image",
    "info": {
        "default_skeleton": {"labels": list(JOINT_NAMES), "edges": [list(bone) for bone in BONES]},
    },
}


def write_fiftyone(out: Path, hands: ExportedHands, progress: Progress) -> str:
    """Write hands with pictures into a new folder ``out``; returns a line of Python that opens it."""
    with creating(out) as folder:
        (folder / "data").mkdir(parents=True)
        (folder / "metadata.json").write_text(json.dumps(_METADATA))
        with (folder / "samples.json").open("w") as file:
            file.write('{"samples": ')
            write_json_list(file, _samples(folder, hands, progress))
            file.write("}\n")
    return (
        "import fiftyone as fo; "
        f"hands = fo.Dataset.from_dir({str(out)!r}, dataset_type=fo.types.FiftyOneDataset)"
    )


def _samples(folder: Path, hands: ExportedHands, progress: Progress) -> Iterator[dict[str, Any]]:
    for hand in hands.read(progress):
        description = hands.describe(hand)
        hand_id = description.pop("id")
        name = f"data/{hand_id}.jpg"
        (folder / name).write_bytes(hands.pool.crop_jpeg(hand.hand_id))
        label, _ = description.pop("label"), description.pop("joint_scores", None)
        yield {
            "filepath": name,
            "tags": [],
            "_media_type": "image",
            "hand_id": hand_id,
            "label": None if label is None else {"_cls": "Classification", "label": label},
            "keypoints": {"_cls": "Keypoints", "keypoints": [_keypoints(hand)]},
            **description,
        }


def _keypoints(hand: Hand) -> dict[str, Any]:
    keypoints = {
        "_cls": "Keypoint",
        "label": "hand",
        "points": np.round(hand.keypoints[:, :2].astype(np.float64), 6).tolist(),
        "attributes": {},
        "tags": [],
    }
    if hand.joint_scores is not None:
        keypoints["confidence"] = hand.joint_scores.tolist()
    return keypoints

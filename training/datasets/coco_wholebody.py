"""The hands of COCO-WholeBody (Jin et al., ECCV 2020, arXiv 2007.11858) version 1.0: 2D joints of people in
COCO's pictures, from the official layout.

``annotations/coco_wholebody_{train,val}_v1.0.json`` lie beside COCO's own folders, ``train2017/`` and
``val2017/``. ``images[]`` has ``id``, ``file_name``, ``width`` and ``height``; each of ``annotations[]`` is a
person with ``id``, ``image_id``, and ``<side>hand_valid`` and ``<side>hand_kpts`` for both sides: 21 times x,
y and a flag, in our order; 0 says that the joint is not labelled. Coordinates are measured from the
corner of the picture, as ours. (data_format.md of github.com/jin-s13/COCO-WholeBody)

The files have hundreds of megabytes of JSON; they are streamed, 32 MB a second, and 500 bytes of a hand are
kept. Pictures are read lazily.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ijson
import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT
from training.datasets.large_json import explain_errors, stream
from training.datasets.record import HandLabel, LabelledHand, check_split, label_in_2d, with_picture

SPLITS: Final = ("train", "val")
VERSION: Final = "version 1.0"
_DOWNLOAD_AGAIN: Final = "download the annotations of COCO-WholeBody 1.0 again"
_EXTRACT_AGAIN: Final = "extract COCO's archive of pictures of 2017 again"


class CocoWholeBody:
    """A `HandDataset` of the hands of a split that annotators found clear enough (``<side>hand_valid``).

    Joints are in 2D alone. ``skipped`` counts the valid hands without a labelled joint. Raises HandsimError
    for an unknown split, and for annotations that are missing, damaged or of another form.
    """

    name = "coco_wholebody"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split, self.skipped = root, split, 0
        path = root / "annotations" / f"coco_wholebody_{split}_v1.0.json"
        if not path.is_file():
            raise NotThereError(
                f"{path} is missing; give the folder that has annotations/ of COCO-WholeBody 1.0 and COCO's "
                f"{split}2017/"
            )
        self._hands: list[_Hand] = []
        with explain_errors(path, VERSION, _DOWNLOAD_AGAIN):
            for hand in _read_hands(path):
                if np.isfinite(hand.keypoints_px).any():
                    self._hands.append(hand)
                else:
                    self.skipped += 1
        if not self._hands:
            raise HandsimError(f"{path} has no valid hand with a labelled joint; {_DOWNLOAD_AGAIN}")

    def __len__(self) -> int:
        return len(self._hands)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        hand = self._hands[index]
        person = f"{Path(hand.picture).stem}/{hand.person}"
        return label_in_2d(f"{person}/{hand.side}", person, hand.side, hand.size_px, hand.keypoints_px)

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _EXTRACT_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """The picture of one hand; the labels of all are in one file."""
        return (self.root / f"{self.split}2017" / self._hands[index].picture,)


@dataclass(frozen=True, eq=False, slots=True)
class _Hand:
    picture: str
    size_px: tuple[int, int]
    person: int
    """The annotation's id."""
    side: Side
    keypoints_px: NDArray[np.float32]
    """[21, 2], NaN where not labelled."""


def _read_hands(path: Path) -> Iterator[_Hand]:
    pictures: dict[int, tuple[str, tuple[int, int]]] = {}
    for image in stream(path, ijson.items, "images.item", _DOWNLOAD_AGAIN):
        pictures[int(image["id"])] = str(image["file_name"]), (int(image["width"]), int(image["height"]))
    for person in stream(path, ijson.items, "annotations.item", _DOWNLOAD_AGAIN):
        for side in SIDES:
            if not person[f"{side}hand_valid"]:
                continue
            picture_id = int(person["image_id"])
            if picture_id not in pictures:
                raise KeyError(f"images[] of id {picture_id}")
            picture, size_px = pictures[picture_id]
            yield _Hand(picture, size_px, int(person["id"]), side, _keypoints(person[f"{side}hand_kpts"]))


def _keypoints(numbers: Any) -> NDArray[np.float32]:
    points = np.array(numbers, dtype=np.float32).reshape(JOINT_COUNT, 3)
    return np.where(points[:, 2:] > 0, points[:, :2], np.float32(np.nan))

"""HInt (Pavlakos et al., CVPR 2024, arXiv 2312.05251): 2D joints of hands in the wild, from the official
layout.

``<SPLIT>_<source>/<name>_<side>.json`` describes the hand in ``<name>_<side>.jpg`` beside it, as in
``TEST_newdays_img/ND_5pHBcVhuU_frame008373_l.json``: the split is TRAIN, VAL or TEST, the side ``l`` or
``r``, the sources newdays_img, epick_img, ego4d_img and ego4d_seq. It is a list of one object, of which are
read ``keypoints`` [21, 2] in pixels, in our order, and ``existence`` [21], where there is one: 0 for a joint
that is not in the picture. Joints that are hidden (``occlusion``) are annotated like the others.
(github.com/ddshan/hint, visualize_HInt)

The pictures of Ego4D are not in the download and have to be taken from Ego4D: a folder without any picture is
left out, and ``without_pictures`` counts its hands. Pictures and labels are read lazily. The size of a
picture is not in the labels and is read from the picture.

Not confirmed, because the data could not be seen: ``existence``, which the official scripts do not read; and
whether coordinates are those of pixels' corners, as they are taken here, or of their centres.
"""

import json
import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from handsim.errors import HandsimError, NotThereError
from handsim.hand import Side
from handsim.skeleton import JOINT_COUNT
from training.datasets.record import HandLabel, LabelledHand, check_split, label_in_2d, with_picture

SPLITS: Final = ("train", "val", "test")
SOURCES: Final = ("newdays_img", "epick_img", "ego4d_img", "ego4d_seq")
_SIDES: Final[dict[str, Side]] = {"l": "left", "r": "right"}
_DOWNLOAD_AGAIN: Final = "download and extract HInt again"


class HInt:
    """A `HandDataset` of the hands of a split that have pictures, in 2D alone.

    Raises HandsimError for an unknown split, and where none of its folders is there or has a picture; what is
    wrong with a hand's own files is raised when they are read.
    """

    name = "hint"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split, self.skipped, self.without_pictures = root, split, 0, 0
        folders = [root / f"{split.upper()}_{source}" for source in SOURCES]
        there = [folder for folder in folders if folder.is_dir()]
        if not there:
            raise NotThereError(
                f"{root} has none of {', '.join(folder.name for folder in folders)}; give the folder that "
                f"HInt was extracted in"
            )
        self._labels: list[Path] = []
        for folder in there:
            labels = sorted(folder.glob("*_[lr].json"))
            if next(folder.glob("*.jpg"), None) is None:
                self.without_pictures += len(labels)
            else:
                self._labels += labels
        if not self._labels:
            raise HandsimError(
                f"{', '.join(map(str, there))} have no hand with a picture, {self.without_pictures} without; "
                f"{_DOWNLOAD_AGAIN}, or take the pictures of Ego4D as its page says"
            )

    def __len__(self) -> int:
        return len(self._labels)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises HandsimError for damaged files, IndexError past the end."""
        path = self._labels[index]
        points_px = _read_keypoints(path)
        frame, _, side = path.stem.rpartition("_")
        source = path.parent.name.partition("_")[2]
        size_px = _size_of(self.files(index)[0])
        return label_in_2d(f"{source}/{path.stem}", video_of(frame), _SIDES[side], size_px, points_px)

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _DOWNLOAD_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """The picture of one hand, and its label."""
        path = self._labels[index]
        return (path.with_suffix(".jpg"), path)


def video_of(frame: str) -> str:
    """The video that a frame is of; HInt does not say whose hands they are.

    ``ND_5pHBcVhuU_frame008373`` is of New Days, ``EK_0064_P03_10_frame_0000000249`` of EPIC-KITCHENS, and
    the names of Ego4D begin with the identifier of a video. Other names are videos of their own.
    """
    match = re.match(r"(?:EK_\d+_)?(?P<video>.+)_frame_?\d+$|(?P<uid>[0-9a-f-]{36})_", frame)
    return frame if match is None else match["video"] or match["uid"]


def _read_keypoints(path: Path) -> NDArray[np.float32]:
    """2D joints [21, 2], NaN where not annotated."""
    try:
        (hand,) = json.loads(path.read_bytes())
        points = np.array(hand["keypoints"], dtype=np.float32)[:, :2].reshape(JOINT_COUNT, 2)
        exists = np.array(hand.get("existence", [1] * JOINT_COUNT), dtype=np.float32).reshape(JOINT_COUNT, 1)
    except KeyError as error:
        raise HandsimError(f"{path} lacks {error.args[0]!r}; {_DOWNLOAD_AGAIN}") from error
    except (OSError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise HandsimError(
            f"{path} cannot be read as the label of one hand ({str(error)[:80]}); {_DOWNLOAD_AGAIN}"
        ) from error
    return np.where(exists > 0, points, np.float32(np.nan))


def _size_of(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise NotThereError(f"the picture {path} is missing; {_DOWNLOAD_AGAIN}")
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        what = "empty file" if not path.stat().st_size else "not an image"
        raise HandsimError(f"the picture {path} cannot be read ({what}); {_DOWNLOAD_AGAIN}") from error

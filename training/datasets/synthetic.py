"""The project's own labelled set of synthetic hands.

A folder with ``synthetic-hands.json`` (format, world, counts), ``labels.npz`` (arrays over all N hands, told
as the camera saw them: `FIELDS`) and ``images/%07d.jpg``. Splits are by people: nobody is in two of them.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.skeleton import JOINT_COUNT
from training.datasets.names import check_split
from training.datasets.pictures import with_picture
from training.datasets.record import HandLabel, LabelledHand

SPLITS: Final = ("train", "val", "test")
FORMAT: Final = 1
FACTS: Final = "synthetic-hands.json"
LABELS: Final = "labels.npz"
FIELDS: Final[Mapping[str, tuple[int, ...]]] = {
    "keypoints_2d_px": (JOINT_COUNT, 2),
    "joints_3d_mm": (JOINT_COUNT, 3),
    "intrinsics": (3, 3),
    "size_px": (2,),
    "is_left": (),
    "split": (),
    "person": (),
    "video": (),
    "frame": (),
}
"""Name of each array, and its shape after [N]; ``split`` is a place in `SPLITS`."""
_WRITE_AGAIN: Final = "write it again with `handsim synth --layout synthetic`"


class SyntheticHands:
    """A `HandDataset` of one split; raises HandsimError for an unknown split and a damaged folder."""

    name = "synthetic"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split, self.skipped = root, split, 0
        self.world = _read_world(root)
        """Digest of the world it was filmed in; hands of other worlds are other samples."""
        labels = _read_labels(root / LABELS)
        self._rows = np.flatnonzero(labels["split"] == SPLITS.index(split))
        self._labels = {name: array[self._rows] for name, array in labels.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        one = {name: array[index] for name, array in self._labels.items()}
        label = HandLabel(
            sample_id=f"{self.world}/{int(one['video']):06d}/{int(one['frame']):06d}",
            subject=f"{self.world}/{int(one['person']):06d}",
            side="left" if one["is_left"] else "right",
            size_px=(int(one["size_px"][0]), int(one["size_px"][1])),
            keypoints_2d_px=one["keypoints_2d_px"],
            joints_3d_mm=one["joints_3d_mm"],
            intrinsics=one["intrinsics"],
            valid=np.ones(JOINT_COUNT, dtype=np.bool_),
        )
        return label.mirrored() if label.side == "left" else label

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _WRITE_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """What one hand is read from, but for the labels of all: its picture."""
        return (picture_path(self.root, int(self._rows[index])),)


def picture_path(root: Path, row: int) -> Path:
    """The picture of the hand in a row of the labels."""
    return root / "images" / f"{row:07d}.jpg"


def _read_world(root: Path) -> str:
    path = root / FACTS
    if not path.is_file():
        raise NotThereError(f"{root} is no synthetic set: it has no {FACTS}; {_WRITE_AGAIN}")
    try:
        facts = json.loads(path.read_text())
        version, world = facts["format"], facts["world"]
    except KeyError as error:
        raise HandsimError(f"{path} lacks {error.args[0]!r}; {_WRITE_AGAIN}") from error
    except (OSError, ValueError, TypeError) as error:
        raise HandsimError(f"{path} cannot be read ({error}); {_WRITE_AGAIN}") from error
    if version != FORMAT:
        raise HandsimError(f"{path} tells of format {version}, this handsim reads {FORMAT}; {_WRITE_AGAIN}")
    return str(world)


def _read_labels(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise NotThereError(f"{path} is missing; {_WRITE_AGAIN}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = {name: arrays[name] for name in FIELDS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise HandsimError(f"{path} cannot be read ({str(error)[:80]}); {_WRITE_AGAIN}") from error
    hands = len(labels["split"])
    for name, shape in FIELDS.items():
        if labels[name].shape != (hands, *shape):
            raise HandsimError(
                f"{path} has {name} {list(labels[name].shape)}, expected {[hands, *shape]}; {_WRITE_AGAIN}"
            )
        if not np.isfinite(labels[name]).all():
            raise HandsimError(f"{path} has numbers in {name} that are not finite; {_WRITE_AGAIN}")
    return labels

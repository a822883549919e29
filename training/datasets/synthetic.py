"""The project's own labelled set of synthetic hands.

A folder with ``synthetic-hands.json`` (format, world, counts), ``labels.npz`` (arrays over all N hands, told
as the camera saw them: `FIELDS`) and ``images/%07d.jpg``. Splits are by people: nobody is in two of them.

The project's own labelled set, written (see `training.datasets.synthetic`).
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from handsim.files import write_text_atomically
from handsim.skeleton import JOINT_COUNT
from handsim.synthetic import LabelledPicture, SyntheticConfig, synthesise_labelled
from training.datasets.layouts import Progress, begin_layout
from training.datasets.record import HandLabel, LabelledHand, check_split, with_picture

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


JPEG_QUALITY: Final = 92
CROP_ENLARGEMENT: Final = 2.6
"""As much of the surroundings as views for fine-tuning are taken from."""
HELD_OUT_SHARE: Final = 0.15
"""Of the people, for validation and for testing each; at least one."""


def write_synthetic(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Film a world into an empty folder: crops of ``size_px`` with their surroundings.

    It is a set once it is whole: its facts are written last. Raises HandsimError for a folder that is not
    empty and for fewer than three people or videos, one a split.
    """
    if 0 < config.people.count < len(SPLITS):
        raise HandsimError(
            f"people.count is {config.people.count}; splits are by people, so {len(SPLITS)} are needed"
        )
    begin_layout(root, "synthetic", config, least_videos=len(SPLITS))
    world = hashlib.blake2b(repr(replace(config, videos=0)).encode(), digest_size=4).hexdigest()
    split_of = split_of_people(config)
    (root / "images").mkdir()
    rows: list[dict[str, Any]] = []
    total = config.videos * config.hands_per_video
    for row, picture in enumerate(synthesise_labelled(config, crop_enlargement=CROP_ENLARGEMENT)):
        Image.fromarray(picture.image).save(picture_path(root, row), quality=JPEG_QUALITY)
        rows.append(_row(picture, int(split_of[picture.person])))
        if progress:
            progress(row + 1, total)
    labels: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    np.savez(root / LABELS, **labels)
    counts = {name: sum(int(row["split"]) == place for row in rows) for place, name in enumerate(SPLITS)}
    facts = {"format": FORMAT, "world": world, "seed": config.seed, "hands": counts}
    write_text_atomically(root / FACTS, json.dumps(facts, indent=1) + "\n")


def split_of_people(config: SyntheticConfig) -> NDArray[np.int64]:
    """The split of each person [P] that is filmed, as a place in `SPLITS`."""
    people = min(config.people.count or config.videos, config.videos)
    held_out = max(1, round(HELD_OUT_SHARE * people))
    drawn = np.random.default_rng(config.seed).permutation(people)
    split = np.zeros(people, dtype=np.int64)
    split[drawn[:held_out]] = SPLITS.index("val")
    split[drawn[held_out : 2 * held_out]] = SPLITS.index("test")
    return split


def _row(picture: LabelledPicture, split: int) -> dict[str, Any]:
    height, width = picture.image.shape[:2]
    return {
        "keypoints_2d_px": picture.keypoints_2d_px,
        "joints_3d_mm": picture.joints_3d_mm,
        "intrinsics": picture.intrinsics,
        "size_px": np.array([width, height], dtype=np.int32),
        "is_left": np.bool_(picture.side == "left"),
        "split": np.int8(split),
        "person": np.int32(picture.person),
        "video": np.int32(picture.video),
        "frame": np.int32(picture.frame),
    }

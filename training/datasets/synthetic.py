"""handsim's own labelled dataset of synthetic hands: read, and written.

A folder with ``synthetic-hands.json`` (format, world, counts), ``labels.npz`` (arrays over all N hands, as
the camera saw them, left hands not mirrored: `FIELDS`) and ``images/%07d.jpg``. Splits are by person: nobody
is in two of them.
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
from training.runs.recipes import SHIPPED, Recipes

WORLDS: Final = Recipes(SyntheticConfig, SHIPPED / "worlds", "handsim synth", "world")
"""The worlds that come with handsim, and the reader of others: YAML files that fill a `SyntheticConfig`."""

SPLITS: Final = ("train", "val", "test")
FORMAT: Final = 1
METADATA_FILE: Final = "synthetic-hands.json"
LABELS_FILE: Final = "labels.npz"
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
"""Name of each array, and its shape after [N]; ``split`` is an index into `SPLITS`."""
_WRITE_AGAIN: Final = "write it again with `handsim synth --layout synthetic`"


class SyntheticHands:
    """A `HandDataset` of one split; raises HandsimError for an unknown split and a damaged folder."""

    name = "synthetic"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split, self.skipped = root, split, 0
        self.world = _read_world(root)
        """Digest of the settings that it was made with; hands of other worlds are other samples."""
        labels = _read_labels(root / LABELS_FILE)
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
        """The image of one hand; the labels of all are in one file."""
        return (picture_path(self.root, int(self._rows[index])),)


def picture_path(root: Path, row: int) -> Path:
    return root / "images" / f"{row:07d}.jpg"


def _read_world(root: Path) -> str:
    path = root / METADATA_FILE
    if not path.is_file():
        raise NotThereError(f"{root} is not a synthetic dataset: it has no {METADATA_FILE}; {_WRITE_AGAIN}")
    try:
        metadata = json.loads(path.read_text())
        version, world = metadata["format"], metadata["world"]
    except KeyError as error:
        raise HandsimError(f"{path} lacks {error.args[0]!r}; {_WRITE_AGAIN}") from error
    except (OSError, ValueError, TypeError) as error:
        raise HandsimError(f"{path} cannot be read ({error}); {_WRITE_AGAIN}") from error
    if version != FORMAT:
        raise HandsimError(f"{path} has format {version}, this handsim reads {FORMAT}; {_WRITE_AGAIN}")
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


_JPEG_QUALITY: Final = 92
CROP_ENLARGEMENT: Final = 2.6
"""Side of an image in sizes of the hand's box: views for fine-tuning show that much of the surroundings."""
_EVALUATION_SHARE: Final = 0.15
"""Of the people, for validation and for testing each; at least one."""


def write_synthetic(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Write the hands of a world into an empty folder: crops of ``size_px`` with their surroundings.

    The metadata is written last: without it the folder is not a dataset. Raises HandsimError for a folder
    that is not empty and for fewer than three people or videos, one for each split.
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
        Image.fromarray(picture.image).save(picture_path(root, row), quality=_JPEG_QUALITY)
        rows.append(_row(picture, int(split_of[picture.person])))
        if progress:
            progress(row + 1, total)
    labels: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    np.savez(root / LABELS_FILE, **labels)
    counts = {name: sum(int(row["split"]) == place for row in rows) for place, name in enumerate(SPLITS)}
    metadata = {"format": FORMAT, "world": world, "seed": config.seed, "hands": counts}
    write_text_atomically(root / METADATA_FILE, json.dumps(metadata, indent=1) + "\n")


def split_of_people(config: SyntheticConfig) -> NDArray[np.int64]:
    """The split of each person [P] of a world, as an index into `SPLITS`."""
    people = min(config.people.count or config.videos, config.videos)
    count = max(1, round(_EVALUATION_SHARE * people))
    shuffled = np.random.default_rng(config.seed).permutation(people)
    split = np.zeros(people, dtype=np.int64)
    split[shuffled[:count]] = SPLITS.index("val")
    split[shuffled[count : 2 * count]] = SPLITS.index("test")
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

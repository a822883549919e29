"""The project's own labelled set, written (see `training.datasets.synthetic`)."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.atomic_file import write_text_atomically
from handsim.errors import HandsimError
from handsim.synthetic import LabelledPicture, SyntheticConfig, synthesise_labelled
from training.datasets.layouts.footage import Progress
from training.datasets.layouts.marker import begin_layout
from training.datasets.synthetic import FACTS, FORMAT, LABELS, SPLITS, picture_path

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

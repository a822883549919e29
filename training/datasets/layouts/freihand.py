"""Synthetic hands in FreiHAND's layout, ``evaluation_xyz.json`` beside the rest.

All of them are right hands, in crops of 224 pixels. The four versions of a training hand are one picture,
brighter or darker, and share its labels, as FreiHAND's versions share theirs.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.geometry import PIXEL_CENTRE
from handsim.synthetic import LabelledPicture, SyntheticConfig, synthesise_labelled
from training.datasets.freihand import SIZE_PX, VERSIONS
from training.datasets.layouts.footage import Progress
from training.datasets.layouts.marker import begin_layout
from training.datasets.record import MM_PER_M

JPEG_QUALITY: Final = 95
CROP_ENLARGEMENT: Final = 1.6
"""FreiHAND's pictures show some surroundings."""
EVALUATION_EVERY: Final = 5
"""One video in so many is for evaluation: its person is in no training picture."""
LEAST_VIDEOS: Final = 3
"""One for evaluation, and two of which one hand is held out for validation."""
BRIGHTNESS: Final = (1.0, 0.8, 0.9, 1.1)
"""Of the four versions."""
REFERENCE_BONE: Final = (9, 10)
"""``scale`` is its length."""


def write_freihand(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Film a world into an empty folder.

    Raises HandsimError for a folder that is not empty and for fewer than three videos.
    """
    begin_layout(root, "freihand", config, least_videos=LEAST_VIDEOS)
    world = replace(
        config,
        size_px=SIZE_PX[0],
        motion=replace(config.motion, left_share=0.0),
        people=replace(config.people, count=0),
    )
    evaluation = set(range(0, world.videos, EVALUATION_EVERY))
    parts = {"evaluation": sorted(evaluation), "training": sorted(set(range(world.videos)) - evaluation)}
    done, total = 0, world.videos * world.hands_per_video
    for part, videos in parts.items():
        labels: dict[str, list[Any]] = {"K": [], "xyz": [], "scale": []}
        hands = len(videos) * world.hands_per_video
        (root / part / "rgb").mkdir(parents=True)
        filmed = synthesise_labelled(world, crop_enlargement=CROP_ENLARGEMENT, videos=videos)
        for number, picture in enumerate(filmed):
            for version, image in enumerate(_versions(picture, part)):
                path = root / part / "rgb" / f"{number + hands * version:08d}.jpg"
                Image.fromarray(image).save(path, quality=JPEG_QUALITY)
            _add(labels, picture)
            done += 1
            if progress:
                progress(done, total)
        for name, values in labels.items():
            (root / f"{part}_{name}.json").write_text(json.dumps(values))


def _versions(picture: LabelledPicture, part: str) -> Iterator[NDArray[np.uint8]]:
    for factor in BRIGHTNESS[: VERSIONS if part == "training" else 1]:
        yield np.clip(picture.image * factor, 0, 255).astype(np.uint8)


def _add(labels: dict[str, list[Any]], picture: LabelledPicture) -> None:
    intrinsics = picture.intrinsics.copy()
    intrinsics[:2, 2] -= PIXEL_CENTRE
    joints_m = picture.joints_3d_mm.astype(np.float64) / MM_PER_M
    start, end = REFERENCE_BONE
    labels["K"].append(intrinsics.tolist())
    labels["xyz"].append(joints_m.tolist())
    labels["scale"].append(float(np.linalg.norm(joints_m[end] - joints_m[start])))

"""Small synthetic datasets and their true labels, hands for the checks, and ways to break them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from handsim.hand import Side
from handsim.synthetic import PeopleConfig, SyntheticConfig, ViewConfig
from handsim.synthetic.camera import project
from handsim.synthetic.hand_model import MCPS_MM, PHALANGES_MM
from handsim.synthetic.video import Video, compute_geometry, sample_video
from training.datasets.bad_list import BadHand, SplitBadList, fingerprint_of
from training.datasets.record import HandDataset

SYNTHETIC = SyntheticConfig(videos=12, hands_per_video=2, seed=2, size_px=64, people=PeopleConfig(count=8))
FREIHAND = SyntheticConfig(videos=6, hands_per_video=2, seed=3)
VIEW = ViewConfig(picture_px=(80, 64), focal_px=(60.0, 90.0))
DEXYCB = SyntheticConfig(videos=14, hands_per_video=2, seed=5, view=VIEW)
ASSEMBLYHANDS = SyntheticConfig(videos=10, hands_per_video=3, seed=5, view=VIEW)


@cache
def true_labels(
    world: SyntheticConfig, video: int, side: Side, focal_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Joints [F, 21, 3] in mm, projections [F, 21, 2] in px and K [3, 3] of a video, as records have them.

    The world model has right hands, and a left hand's image is the mirror image: nothing is mirrored here.
    """
    motion = replace(world.motion, left_share=float(side == "left"))
    view = replace(world.view, focal_px=(focal_px, focal_px))
    sample = sample_video(replace(world, motion=motion, view=view), video)
    joints, intrinsics = compute_geometry([sample]).joints_mm, sample.view.intrinsics
    return joints, project(joints, intrinsics), intrinsics


MANO_PHALANGES_MM = np.array(
    [[31.0, 26, 25], [32.7, 23, 22], [31, 23.6, 23], [30.5, 23, 23], [21, 18, 20]], dtype=np.float64
)
"""Lengths of the fingers of MANO's mean hand, nearly: shorter than those of X-rays."""


def whole_hands(videos: int = 40, seed: int = 3) -> NDArray[np.float64]:
    """Joints [N, 21, 3] of right hands in the camera frame, five of each video, in mm."""
    config = SyntheticConfig(videos=videos, hands_per_video=5, seed=seed)
    return compute_geometry([sample_video(config, index) for index in range(videos)]).joints_mm


@cache
def odd_hands(seed: int, noise_mm: float) -> NDArray[np.float64]:
    """The same of unusual people, with noisy annotations."""
    rng = np.random.default_rng(seed)
    phalanges = (MANO_PHALANGES_MM if seed % 2 else PHALANGES_MM) * np.exp(0.15 * rng.standard_normal((5, 3)))
    mcps = MCPS_MM * [rng.uniform(0.85, 1.3), 1.0, 1.0]
    config = SyntheticConfig(videos=10, hands_per_video=5, seed=seed)
    videos = [_with_bones(sample_video(config, index), phalanges, mcps) for index in range(10)]
    joints = compute_geometry(videos).joints_mm
    return joints + noise_mm * rng.standard_normal(joints.shape)


def _with_bones(video: Video, phalanges_mm: NDArray[np.float64], mcps_mm: NDArray[np.float64]) -> Video:
    scale = float(video.person.shape.scale)
    shape = replace(video.person.shape, phalanges_mm=phalanges_mm * scale, mcps_mm=mcps_mm * scale)
    return replace(video, person=replace(video.person, shape=shape))


Joints = NDArray[np.float64]
Change = Callable[[Joints], Joints]


def change_dexycb(root: Path, change: Change, *, reproject: bool = True) -> None:
    """Apply ``change`` to the 3D joints [21, 3], in metres, of all labels; project them again or not."""
    cameras = {path.name.split("_")[0]: path for path in (root / "calibration" / "intrinsics").iterdir()}
    colours = {serial: yaml.safe_load(path.read_text())["color"] for serial, path in cameras.items()}
    for path in sorted(root.glob("*/*/*/labels_*.npz")):
        with np.load(path) as stored:
            joint_3d, joint_2d = stored["joint_3d"].astype(np.float64), stored["joint_2d"]
        if (joint_3d == -1).all():
            continue
        joint_3d[0] = change(joint_3d[0])
        if reproject:
            k = colours[path.parent.name]
            pixels = joint_3d[0, :, :2] / joint_3d[0, :, 2:] * [k["fx"], k["fy"]] + [k["ppx"], k["ppy"]]
            joint_2d = pixels[None].astype(np.float32)
        np.savez(path, joint_3d=joint_3d.astype(np.float32), joint_2d=joint_2d)


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    """Apply ``change`` to what a JSON file holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@contextmanager
def damaged(path: Path) -> Iterator[Path]:
    """A file of a shared dataset that may be changed or removed; it is restored at the end."""
    content = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(content)


def listed(dataset: HandDataset, *indices: int) -> SplitBadList:
    """A list that names hands of a split."""
    hands = tuple(BadHand(index, dataset.label(index).sample_id, ("odd",), 2.0) for index in indices)
    hands_read = len(dataset)
    return SplitBadList(dataset.split, hands_read, hands_read, fingerprint_of(dataset), hands)

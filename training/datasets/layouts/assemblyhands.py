"""Synthetic hands in AssemblyHands' layout: grey pictures of a camera on the head, annotated in the world.

A sequence is one person's. Two cameras take turns, and a picture shows the right hand, the left one, or both,
where two pictures can be joined between the hands. The head moves: each frame has extrinsics of its own. Some
joints are not valid, and some hands have a box and no valid joint. The keys are those in
`training.datasets.assemblyhands.files`, and ``frame_id``; ``timestamp`` is left out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.geometry import PIXEL_CENTRE
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT, from_handsim_order
from handsim.synthetic import SyntheticConfig
from handsim.synthetic.camera import project
from training.datasets.assemblyhands.annotations import HALVES
from training.datasets.assemblyhands.files import CAMERA_SUFFIX, SPLITS, VERSION
from training.datasets.layouts.footage import Footage, Progress, film_hands, focal_of_camera
from training.datasets.layouts.marker import begin_layout

CAMERAS: Final = ("HMC_84346135", "HMC_84347414", "HMC_84355350", "HMC_84358933")
JPEG_QUALITY: Final = 95
TURNS: Final = 2
"""How many of the cameras film a sequence, one after the other."""
FRAME_STEP: Final = 2
"""Every second frame is annotated, as in the real ones."""
UNSEEN_SHARE: Final = 0.2
"""Share of the hands of which some joints are not valid."""
UNANNOTATED_EVERY: Final = 11
"""One hand in so many has a box and no valid joint."""
HEAD_MM: Final = 800.0
"""How far the head moves about the world."""
_INFO: Final = {"description": "synthetic hands in the layout of AssemblyHands", "version": "1.1"}

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _View:
    """One picture of one or two hands."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    hands: dict[Side, Floats]
    """The joints [21, 3] of each hand in the camera frame, in our order."""


@dataclass
class _Split:
    """A split as it is filmed, and what its three files will hold."""

    root: Path
    name: str
    rng: np.random.Generator
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    calibration: dict[str, Any] = field(default_factory=dict)
    joints: dict[str, Any] = field(default_factory=dict)
    hands: int = 0

    def add_camera(self, sequence: str, camera: str, intrinsics: Floats) -> None:
        """Enter a camera of a sequence."""
        theirs = intrinsics.copy()
        theirs[:2, 2] -= PIXEL_CENTRE
        cameras = self.calibration.setdefault(sequence, {"intrinsics": {}, "extrinsics": {}})
        cameras["intrinsics"][camera + CAMERA_SUFFIX] = theirs.tolist()

    def add_view(self, sequence: str, camera: str, frame: int, view: _View, intrinsics: Floats) -> None:
        """Write a picture and enter what it shows."""
        folder = f"ego_images_rectified/{self.name}/{sequence}/{camera}{CAMERA_SUFFIX}"
        file_name = f"{folder}/{frame:06d}.jpg"
        path = self.root / "images" / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.image).convert("L").save(path, quality=JPEG_QUALITY)
        height, width = view.image.shape[:2]
        picture = {"id": len(self.images), "file_name": file_name, "width": width, "height": height}
        self.images.append({**picture, "seq_name": sequence, "camera": camera, "frame_idx": frame})
        rotation, translation = _head(self.rng)
        world, valid_3d = np.zeros((2 * JOINT_COUNT, 3)), np.zeros(2 * JOINT_COUNT, dtype=np.int64)
        pixels, valid_2d = np.zeros((2 * JOINT_COUNT, 3)), np.zeros(2 * JOINT_COUNT, dtype=np.int64)
        box: dict[Side, list[float] | None] = dict.fromkeys(SIDES)
        for side, joints in view.hands.items():
            points = project(joints, intrinsics) - PIXEL_CENTRE
            half, ordered = HALVES[side], from_handsim_order(joints, "assemblyhands")
            world[half] = (ordered - translation) @ rotation
            pixels[half] = np.insert(from_handsim_order(points, "assemblyhands"), 2, 1.0, axis=1)
            valid_2d[half], valid_3d[half] = self._valid(pixels[half, :2], np.array([width, height]))
            inside = np.clip(points, 0, [width - 1, height - 1])
            box[side] = [*inside.min(axis=0).tolist(), *inside.max(axis=0).tolist()]
        extrinsics = np.concatenate([rotation, translation[:, None]], axis=1).tolist()
        key = f"{frame:06d}"
        self.calibration[sequence]["extrinsics"][key] = {camera + CAMERA_SUFFIX: extrinsics}
        poses = self.joints.setdefault(sequence, {})
        poses[key] = {"world_coord": world.tolist(), "joint_valid": valid_3d.tolist()}
        annotation = {"id": len(self.annotations), "image_id": picture["id"], "frame_id": frame, "bbox": box}
        self.annotations.append(
            {**annotation, "keypoints": pixels.tolist(), "joint_valid": valid_2d.tolist()}
        )

    def _valid(
        self, pixels: Floats, size_px: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which joints [21] of a hand are valid in its picture, and which in 3D."""
        self.hands += 1
        in_3d = np.ones(JOINT_COUNT, dtype=np.bool_)
        if self.rng.random() < UNSEEN_SHARE:
            in_3d[self.rng.integers(JOINT_COUNT)] = False
        seen = np.all((pixels > 0) & (pixels < size_px - 1), axis=1)
        if self.rng.random() < UNSEEN_SHARE:
            seen[self.rng.choice(JOINT_COUNT, 4, replace=False)] = False
        return seen & (self.hands % UNANNOTATED_EVERY != 0), in_3d

    def write(self) -> None:
        """Write the three files of annotations."""
        folder = self.root / "annotations" / self.name
        folder.mkdir(parents=True)
        contents: dict[str, dict[str, Any]] = {
            "ego_data": {"images": self.images, "annotations": self.annotations},
            "ego_calib": {"calibration": self.calibration},
            "joint_3d": {"annotations": self.joints},
        }
        for kind, content in contents.items():
            path = folder / f"assemblyhands_{self.name}_{kind}_{VERSION}.json"
            path.write_text(json.dumps({"info": _INFO, **content}))


def write_assemblyhands(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Film a world into an empty folder: ``videos`` sequences, each of ``hands_per_video`` pictures a camera.

    Of five sequences three are for training, one is for validation and one for testing. Pictures are of
    ``view.picture_px``. Raises HandsimError for a folder that is not empty and for fewer than three videos.
    """
    begin_layout(root, "assemblyhands", config, least_videos=len(SPLITS))
    world = replace(config, people=replace(config.people, count=max(1, config.videos)))
    splits = {
        name: _Split(root, name, np.random.default_rng((config.seed, number)))
        for number, name in enumerate(SPLITS)
    }
    for turn in range(TURNS):
        for camera in range(len(CAMERAS)):
            _film_camera(splits, world, camera, turn)
            if progress:
                progress(turn * len(CAMERAS) + camera + 1, TURNS * len(CAMERAS))
    for split in splits.values():
        split.write()


def split_of_sequence(number: int) -> str:
    """The split of a sequence, by its number."""
    return ("train", "val", "test", "train", "train")[number % 5]


def _film_camera(splits: dict[str, _Split], world: SyntheticConfig, camera: int, turn: int) -> None:
    """Film the sequences of which a camera is the first (turn 0) or second (turn 1), both hands of each."""
    numbers = range((camera - turn) % len(CAMERAS), world.videos, len(CAMERAS))
    focal = focal_of_camera(world, camera, len(CAMERAS))
    filmed = []
    for place, side in enumerate(SIDES):
        # The same person in every video whose number has this remainder.
        videos = [number + world.videos * (len(SIDES) * turn + place) for number in numbers]
        filmed.append(film_hands(world, videos, side, focal))
    for number, left, right in zip(numbers, *filmed, strict=True):
        split = splits[split_of_sequence(number)]
        participant = 9001 + number
        sequence = f"nusar-2021_action_both_{participant}-c01a_{participant}_user_id_2021-02-01_120000"
        split.add_camera(sequence, CAMERAS[camera], right.intrinsics)
        for place, view in enumerate(_views(right, left)):
            frame = FRAME_STEP * (1 + turn * world.hands_per_video + place)
            split.add_view(sequence, CAMERAS[camera], frame, view, right.intrinsics)


def _views(right: Footage, left: Footage) -> Iterator[_View]:
    """Pictures that show both hands, the left and the right one in turn."""
    for frame in range(len(right.images)):
        kind = frame % 3
        both = _joined(right, left, frame) if kind == 0 else None
        if both:
            yield both
        elif kind == 1:
            yield _View(left.images[frame], {"left": left.joints_mm[frame]})
        else:
            yield _View(right.images[frame], {"right": right.joints_mm[frame]})


def _joined(right: Footage, left: Footage, frame: int) -> _View | None:
    """A right hand's frame joined with one of the left hand beside it, if there is any."""
    points = project(right.joints_mm[frame], right.intrinsics)[:, 0]
    for other, joints in enumerate(left.joints_mm):
        others = project(joints, left.intrinsics)[:, 0]
        pictures = [right.images[frame], left.images[other]]
        if points.max() < others.min():
            seam = points.max() + others.min()
        elif others.max() < points.min():
            seam = others.max() + points.min()
            pictures.reverse()
        else:
            continue
        before = np.arange(pictures[0].shape[1])[:, None] < seam / 2
        image = np.where(before, *pictures)
        return _View(image, {"right": right.joints_mm[frame], "left": joints})
    return None


def _head(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A camera anywhere in the world: rotation [3, 3] and translation [3], camera = R world + t."""
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return rotation * np.linalg.det(rotation), HEAD_MM * rng.standard_normal(3)

"""Synthetic hands in the layouts of FreiHAND, DexYCB and AssemblyHands, for tests, demos and experiments.

Each ``write_NAME(root, config, progress)`` renders a world into an empty folder, which the reader of that
dataset then opens as a real download; a marker file says that handsim made it. Labels are exact, and there
are as few hands as fill every split. (`training.datasets.synthetic` has handsim's own layout.)

FreiHAND: right hands only, in crops of 224 pixels. The four versions of a training hand are one image,
brighter or darker, and share its labels; ``evaluation_xyz.json`` lies beside the rest.

DexYCB: ten subjects with a hundred sequences each, most of them empty (``num_frames: 0``); the others are
spread over objects and takes, so that twelve reach every split. Of MANO's pose there is only the translation,
in ``pose.npz``, which marks annotated frames; objects, segmentation, depth and extrinsics are left out. The
eight cameras of a sequence do not see the same moments.

AssemblyHands: grey images of a camera on the head, annotated in world coordinates. A sequence is one
person's. Two cameras take turns, and an image shows the right hand, the left one, or both. The head moves:
each frame has its own extrinsics. Some joints are not valid, and some hands have a box and no valid joint.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.geometry import PIXEL_CENTRE
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT, WRIST, from_handsim_order
from handsim.synthetic import LabelledPicture, SyntheticConfig, synthesise_labelled
from handsim.synthetic.camera import project
from training.datasets.assemblyhands import CAMERA_SUFFIX, HALVES, SPLITS, VERSION
from training.datasets.dexycb import NOT_ANNOTATED, SEQUENCES_PER_SUBJECT, SERIALS, SUBJECTS, TAKES_PER_OBJECT
from training.datasets.freihand import SIZE_PX, VERSIONS
from training.datasets.record import MM_PER_M

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""
Floats = NDArray[np.float64]

_Dumper: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The fast one, where there is one: DexYCB has a thousand files of YAML."""
MARKER: Final = "made-by-handsim.json"
_JPEG_QUALITY: Final = 95


def begin_layout(root: Path, layout: str, config: SyntheticConfig, *, least_videos: int) -> None:
    """Make the folder of a synthetic dataset and mark it.

    Raises HandsimError where it is not empty, and for fewer videos than give every split a hand.
    """
    if config.videos < least_videos:
        raise HandsimError(
            f"videos is {config.videos}; the layout of {layout} needs {least_videos}, or a split is empty"
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise HandsimError(f"{root} is not empty; a dataset is written into a folder of its own")
    root.mkdir(parents=True, exist_ok=True)
    write_text_atomically(root / MARKER, json.dumps({"layout": layout, "seed": config.seed}) + "\n")


def is_synthetic(root: Path) -> bool:
    return (root / MARKER).is_file()


@dataclass(frozen=True, eq=False)
class _Clip:
    """F frames of one hand by one camera; left hands are not mirrored."""

    images: NDArray[np.uint8]
    """[F, H, W, 3] RGB."""
    joints_mm: NDArray[np.float64]
    """[F, 21, 3] in the camera frame."""
    intrinsics: NDArray[np.float64]
    """[3, 3] K of all frames."""


def _render_clips(
    config: SyntheticConfig, videos: Iterable[int], side: Side, focal_px: float
) -> Iterator[_Clip]:
    """Render videos of a world, by number, all with hands of one side and one focal length."""
    world = replace(
        config,
        motion=replace(config.motion, left_share=float(side == "left")),
        view=replace(config.view, focal_px=(focal_px, focal_px)),
    )
    for _, pictures in groupby(synthesise_labelled(world, videos=videos), key=lambda picture: picture.video):
        frames = list(pictures)
        yield _Clip(
            images=np.stack([frame.image for frame in frames]),
            joints_mm=np.stack([frame.joints_3d_mm for frame in frames]).astype(np.float64),
            intrinsics=frames[0].intrinsics,
        )


def focal_of_camera(config: SyntheticConfig, camera: int, cameras: int) -> float:
    """The focal length of one of several cameras; they divide the world's range evenly."""
    low, high = config.view.focal_px
    return low + (high - low) * camera / (cameras - 1)


CROP_ENLARGEMENT: Final = 1.6
"""Side of an image in sizes of the hand's box: FreiHAND's show some surroundings."""
EVALUATION_EVERY: Final = 5
"""One video in so many is for evaluation: its person is in no training image."""
_FREIHAND_LEAST_VIDEOS: Final = 3
"""One for evaluation, and two for training, of which one hand is for validation."""
_BRIGHTNESS: Final = (1.0, 0.8, 0.9, 1.1)
"""Of the four versions."""
_SCALE_BONE: Final = (9, 10)
"""``scale`` is its length."""


def write_freihand(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Write a world in FreiHAND's layout.

    Raises HandsimError for a folder that is not empty and for fewer than three videos.
    """
    begin_layout(root, "freihand", config, least_videos=_FREIHAND_LEAST_VIDEOS)
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
        pictures = synthesise_labelled(world, crop_enlargement=CROP_ENLARGEMENT, videos=videos)
        for number, picture in enumerate(pictures):
            for version, factor in enumerate(_BRIGHTNESS[: VERSIONS if part == "training" else 1]):
                image = np.clip(picture.image * factor, 0, 255).astype(np.uint8)
                path = root / part / "rgb" / f"{number + hands * version:08d}.jpg"
                Image.fromarray(image).save(path, quality=_JPEG_QUALITY)
            _add_freihand_labels(labels, picture)
            done += 1
            if progress:
                progress(done, total)
        for name, values in labels.items():
            (root / f"{part}_{name}.json").write_text(json.dumps(values))


def _add_freihand_labels(labels: dict[str, list[Any]], picture: LabelledPicture) -> None:
    intrinsics = picture.intrinsics.copy()
    intrinsics[:2, 2] -= PIXEL_CENTRE
    joints_m = picture.joints_3d_mm.astype(np.float64) / MM_PER_M
    start, end = _SCALE_BONE
    labels["K"].append(intrinsics.tolist())
    labels["xyz"].append(joints_m.tolist())
    labels["scale"].append(float(np.linalg.norm(joints_m[end] - joints_m[start])))


UNANNOTATED_FRAME_EVERY: Final = 7
"""One frame in so many has no annotation."""
LEAST_TAKES: Final = 12
MOST_TAKES: Final = len(SUBJECTS) * SEQUENCES_PER_SUBJECT


def write_dexycb(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Write a world in DexYCB's layout: ``videos`` sequences of ``hands_per_video`` frames for each camera.

    Images have the size ``view.picture_px``. Raises HandsimError for a folder that is not empty and for fewer
    than 12 sequences or more than 1000.
    """
    if config.videos > MOST_TAKES:
        raise HandsimError(f"videos is {config.videos}; DexYCB has at most {MOST_TAKES} sequences")
    begin_layout(root, "dexycb", config, least_videos=LEAST_TAKES)
    world = replace(config, people=replace(config.people, count=len(SUBJECTS)))
    for subject in range(len(SUBJECTS)):
        for sequence in range(SEQUENCES_PER_SUBJECT):
            _write_meta(sequence_folder(root, subject, sequence), sequence)
    for camera in range(len(SERIALS)):
        for number, side in enumerate(SIDES):
            _write_dexycb_camera(root, world, camera, side, range(number, world.videos, len(SIDES)))
        if progress:
            progress(camera + 1, len(SERIALS))


def place_of_take(take: int) -> tuple[int, int]:
    """Subject and sequence of the take'th sequence with frames; the first 1000 are all different."""
    round_, subject = divmod(take, len(SUBJECTS))
    return subject, (14 * subject + 39 * round_ + 4) % SEQUENCES_PER_SUBJECT


def video_of_take(take: int, camera: int) -> int:
    """The world's video of a camera and a take; all of a subject have its remainder, which is one
    person's."""
    return take % len(SUBJECTS) + len(SUBJECTS) * (take * len(SERIALS) + camera)


def sequence_folder(root: Path, subject: int, sequence: int) -> Path:
    """Folder of a sequence, named by date and time as in the real dataset: one a minute, from noon."""
    date = SUBJECTS[subject][:8]
    return root / SUBJECTS[subject] / f"{date}_{12 + sequence // 60:02d}{sequence % 60:02d}00"


def _write_dexycb_camera(root: Path, world: SyntheticConfig, camera: int, side: Side, takes: range) -> None:
    frames = world.hands_per_video
    focal = focal_of_camera(world, camera, len(SERIALS))
    _write_camera(root, camera, focal, world.view.picture_px)
    videos = [video_of_take(take, camera) for take in takes]
    for take, clip in zip(takes, _render_clips(world, videos, side, focal), strict=True):
        subject, sequence = place_of_take(take)
        folder = sequence_folder(root, subject, sequence)
        annotated = (take * frames + np.arange(frames) + 1) % UNANNOTATED_FRAME_EVERY != 0
        _write_clip(folder / SERIALS[camera], clip, annotated)
        if camera == 0:
            pose = np.zeros((frames, 1, 51), dtype=np.float32)
            pose[annotated, 0, 48:] = clip.joints_mm[annotated, WRIST] / MM_PER_M
            np.savez(folder / "pose.npz", pose_m=pose)
            _write_meta(folder, sequence, frames, side)


def _write_clip(folder: Path, clip: _Clip, annotated: NDArray[np.bool_]) -> None:
    """Write images and labels of one camera; labels of frames without annotation are all -1."""
    folder.mkdir()
    pixels = project(clip.joints_mm, clip.intrinsics) - PIXEL_CENTRE
    for frame, image in enumerate(clip.images):
        Image.fromarray(image).save(folder / f"color_{frame:06d}.jpg", quality=_JPEG_QUALITY)
        joint_3d = np.full((1, JOINT_COUNT, 3), NOT_ANNOTATED, dtype=np.float32)
        joint_2d = np.full((1, JOINT_COUNT, 2), NOT_ANNOTATED, dtype=np.float32)
        if annotated[frame]:
            joint_3d[0], joint_2d[0] = clip.joints_mm[frame] / MM_PER_M, pixels[frame]
        np.savez(folder / f"labels_{frame:06d}.npz", joint_3d=joint_3d, joint_2d=joint_2d)


def _write_meta(folder: Path, sequence: int, frames: int = 0, side: Side = "right") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    meta = {
        "serials": list(SERIALS),
        "num_frames": frames,
        "ycb_ids": [1 + sequence // TAKES_PER_OBJECT],
        "ycb_grasp_ind": 0,
        "mano_sides": [side],
    }
    _write_yaml(folder / "meta.yml", meta)


def _write_camera(root: Path, camera: int, focal_px: float, size_px: tuple[int, int]) -> None:
    folder = root / "calibration" / "intrinsics"
    folder.mkdir(parents=True, exist_ok=True)
    middle = {"ppx": size_px[0] / 2 - PIXEL_CENTRE, "ppy": size_px[1] / 2 - PIXEL_CENTRE}
    content = {"color": {"fx": focal_px, "fy": focal_px, **middle}}
    _write_yaml(folder / f"{SERIALS[camera]}_{size_px[0]}x{size_px[1]}.yml", content)


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.dump(content, Dumper=_Dumper, sort_keys=False))


CAMERAS: Final = ("HMC_84346135", "HMC_84347414", "HMC_84355350", "HMC_84358933")
_TURNS: Final = 2
"""How many of the cameras record a sequence, one after the other."""
FRAME_STEP: Final = 2
"""Every second frame is annotated, as in the real dataset."""
_INVALID_SHARE: Final = 0.2
"""Share of the hands of which some joints are not valid."""
_UNANNOTATED_HAND_EVERY: Final = 11
"""One hand in so many has a box and no valid joint."""
_HEAD_MM: Final = 800.0
"""How far the head moves about the world: a standard deviation on each axis."""
_INFO: Final = {"description": "synthetic hands in the layout of AssemblyHands", "version": "1.1"}


@dataclass(frozen=True, eq=False)
class _Picture:
    """One image of one or two hands."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    hands: dict[Side, Floats]
    """The joints [21, 3] of each hand in the camera frame, in our order."""


@dataclass
class _Split:
    """A split that is being written, and the contents of its three files so far."""

    root: Path
    name: str
    rng: np.random.Generator
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    calibration: dict[str, Any] = field(default_factory=dict)
    joints: dict[str, Any] = field(default_factory=dict)
    hands: int = 0

    def add_camera(self, sequence: str, camera: str, intrinsics: Floats) -> None:
        theirs = intrinsics.copy()
        theirs[:2, 2] -= PIXEL_CENTRE
        cameras = self.calibration.setdefault(sequence, {"intrinsics": {}, "extrinsics": {}})
        cameras["intrinsics"][camera + CAMERA_SUFFIX] = theirs.tolist()

    def add_picture(
        self, sequence: str, camera: str, frame: int, picture: _Picture, intrinsics: Floats
    ) -> None:
        folder = f"ego_images_rectified/{self.name}/{sequence}/{camera}{CAMERA_SUFFIX}"
        file_name = f"{folder}/{frame:06d}.jpg"
        path = self.root / "images" / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.image).convert("L").save(path, quality=_JPEG_QUALITY)
        height, width = picture.image.shape[:2]
        image = {"id": len(self.images), "file_name": file_name, "width": width, "height": height}
        self.images.append({**image, "seq_name": sequence, "camera": camera, "frame_idx": frame})
        rotation, translation = _head(self.rng)
        world, valid_3d = np.zeros((2 * JOINT_COUNT, 3)), np.zeros(2 * JOINT_COUNT, dtype=np.int64)
        pixels, valid_2d = np.zeros((2 * JOINT_COUNT, 3)), np.zeros(2 * JOINT_COUNT, dtype=np.int64)
        box: dict[Side, list[float] | None] = dict.fromkeys(SIDES)
        for side, joints in picture.hands.items():
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
        annotation = {"id": len(self.annotations), "image_id": image["id"], "frame_id": frame, "bbox": box}
        self.annotations.append(
            {**annotation, "keypoints": pixels.tolist(), "joint_valid": valid_2d.tolist()}
        )

    def _valid(
        self, pixels: Floats, size_px: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which joints [21] of a hand are valid in its image, and which in 3D."""
        self.hands += 1
        in_3d = np.ones(JOINT_COUNT, dtype=np.bool_)
        if self.rng.random() < _INVALID_SHARE:
            in_3d[self.rng.integers(JOINT_COUNT)] = False
        in_2d = np.all((pixels > 0) & (pixels < size_px - 1), axis=1)
        if self.rng.random() < _INVALID_SHARE:
            in_2d[self.rng.choice(JOINT_COUNT, 4, replace=False)] = False
        return in_2d & (self.hands % _UNANNOTATED_HAND_EVERY != 0), in_3d

    def write(self) -> None:
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
    """Write a world in AssemblyHands' layout: ``videos`` sequences of ``hands_per_video`` images a camera.

    Of five sequences three are for training, one is for validation and one for testing. Images have the size
    ``view.picture_px``. Raises HandsimError for a folder that is not empty and for fewer than three videos.
    """
    begin_layout(root, "assemblyhands", config, least_videos=len(SPLITS))
    world = replace(config, people=replace(config.people, count=max(1, config.videos)))
    splits = {
        name: _Split(root, name, np.random.default_rng((config.seed, number)))
        for number, name in enumerate(SPLITS)
    }
    for turn in range(_TURNS):
        for camera in range(len(CAMERAS)):
            _add_assemblyhands_camera(splits, world, camera, turn)
            if progress:
                progress(turn * len(CAMERAS) + camera + 1, _TURNS * len(CAMERAS))
    for split in splits.values():
        split.write()


def split_of_sequence(number: int) -> str:
    return ("train", "val", "test", "train", "train")[number % 5]


def _add_assemblyhands_camera(
    splits: dict[str, _Split], world: SyntheticConfig, camera: int, turn: int
) -> None:
    """Add the sequences of which a camera is the first (turn 0) or second (turn 1), both hands of each."""
    numbers = range((camera - turn) % len(CAMERAS), world.videos, len(CAMERAS))
    focal = focal_of_camera(world, camera, len(CAMERAS))
    clips = []
    for place, side in enumerate(SIDES):
        # The same person in every video whose number has this remainder.
        videos = [number + world.videos * (len(SIDES) * turn + place) for number in numbers]
        clips.append(_render_clips(world, videos, side, focal))
    for number, left, right in zip(numbers, *clips, strict=True):
        split = splits[split_of_sequence(number)]
        participant = 9001 + number
        sequence = f"nusar-2021_action_both_{participant}-c01a_{participant}_user_id_2021-02-01_120000"
        split.add_camera(sequence, CAMERAS[camera], right.intrinsics)
        for place, picture in enumerate(_pictures(right, left)):
            frame = FRAME_STEP * (1 + turn * world.hands_per_video + place)
            split.add_picture(sequence, CAMERAS[camera], frame, picture, right.intrinsics)


def _pictures(right: _Clip, left: _Clip) -> Iterator[_Picture]:
    """Images of both hands, of the left and of the right one in turn."""
    for frame in range(len(right.images)):
        kind = frame % 3
        both = _joined(right, left, frame) if kind == 0 else None
        if both:
            yield both
        elif kind == 1:
            yield _Picture(left.images[frame], {"left": left.joints_mm[frame]})
        else:
            yield _Picture(right.images[frame], {"right": right.joints_mm[frame]})


def _joined(right: _Clip, left: _Clip, frame: int) -> _Picture | None:
    """A right hand's frame joined with one of the left hand beside it, if there is one."""
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
        return _Picture(image, {"right": right.joints_mm[frame], "left": joints})
    return None


def _head(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A camera anywhere in the world: rotation [3, 3] and translation [3], camera = R world + t."""
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return rotation * np.linalg.det(rotation), _HEAD_MM * rng.standard_normal(3)

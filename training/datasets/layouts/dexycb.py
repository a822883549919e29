"""Synthetic hands in DexYCB's layout.

All ten subjects have their hundred sequences, which the splits count; most are empty (``num_frames: 0``), and
those that are filmed are spread over objects and takes, so that twelve of them reach every split. Written is
what has truth: pictures, joints, intrinsics and sides. Of MANO's pose there is the translation alone, in
``pose.npz``, by which annotated frames are told; objects, segmentation, depth and extrinsics are left out.
Unlike real ones, a sequence's eight cameras do not see the same moments.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError
from handsim.geometry import PIXEL_CENTRE
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT, WRIST
from handsim.synthetic import SyntheticConfig
from handsim.synthetic.camera import project
from training.datasets.dexycb.files import NOT_ANNOTATED
from training.datasets.dexycb.splits import SEQUENCES_PER_SUBJECT, SERIALS, SUBJECTS, TAKES_PER_OBJECT
from training.datasets.layouts.footage import Footage, Progress, film_hands, focal_of_camera
from training.datasets.layouts.marker import begin_layout
from training.datasets.record import MM_PER_M

JPEG_QUALITY: Final = 95
UNANNOTATED_EVERY: Final = 7
"""One frame in so many has no annotation."""
LEAST_TAKES: Final = 12
MOST_TAKES: Final = len(SUBJECTS) * SEQUENCES_PER_SUBJECT


def write_dexycb(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Film a world into an empty folder: ``videos`` sequences, each of ``hands_per_video`` frames a camera.

    Pictures are of ``view.picture_px``. Raises HandsimError for a folder that is not empty and for fewer than
    12 sequences or more than 1000.
    """
    if config.videos > MOST_TAKES:
        raise HandsimError(f"videos is {config.videos}; DexYCB has {MOST_TAKES} sequences at most")
    begin_layout(root, "dexycb", config, least_videos=LEAST_TAKES)
    world = replace(config, people=replace(config.people, count=len(SUBJECTS)))
    for subject in range(len(SUBJECTS)):
        for sequence in range(SEQUENCES_PER_SUBJECT):
            _write_meta(sequence_folder(root, subject, sequence), sequence)
    for camera in range(len(SERIALS)):
        for number, side in enumerate(SIDES):
            _film_camera(root, world, camera, side, range(number, world.videos, len(SIDES)))
        if progress:
            progress(camera + 1, len(SERIALS))


def place_of_take(take: int) -> tuple[int, int]:
    """Subject and sequence of the take'th filmed sequence; the first 1000 are all different."""
    round_, subject = divmod(take, len(SUBJECTS))
    return subject, (14 * subject + 39 * round_ + 4) % SEQUENCES_PER_SUBJECT


def video_of_take(take: int, camera: int) -> int:
    """The world's video that a camera films of a take; all of a subject have its remainder, one person's."""
    return take % len(SUBJECTS) + len(SUBJECTS) * (take * len(SERIALS) + camera)


def sequence_folder(root: Path, subject: int, sequence: int) -> Path:
    """Folder of a sequence, named by date and time as the real ones are: one a minute, from noon."""
    date = SUBJECTS[subject][:8]
    return root / SUBJECTS[subject] / f"{date}_{12 + sequence // 60:02d}{sequence % 60:02d}00"


def _film_camera(root: Path, world: SyntheticConfig, camera: int, side: Side, takes: range) -> None:
    """Film and write what one camera sees of the takes of one side."""
    frames = world.hands_per_video
    focal = focal_of_camera(world, camera, len(SERIALS))
    _write_camera(root, camera, focal, world.view.picture_px)
    videos = [video_of_take(take, camera) for take in takes]
    for take, footage in zip(takes, film_hands(world, videos, side, focal), strict=True):
        subject, sequence = place_of_take(take)
        folder = sequence_folder(root, subject, sequence)
        annotated = (take * frames + np.arange(frames) + 1) % UNANNOTATED_EVERY != 0
        _write_footage(folder / SERIALS[camera], footage, annotated)
        if camera == 0:
            pose = np.zeros((frames, 1, 51), dtype=np.float32)
            pose[annotated, 0, 48:] = footage.joints_mm[annotated, WRIST] / MM_PER_M
            np.savez(folder / "pose.npz", pose_m=pose)
            _write_meta(folder, sequence, frames, side)


def _write_footage(folder: Path, footage: Footage, annotated: NDArray[np.bool_]) -> None:
    """The pictures and labels of one camera; all is -1 in the labels of frames without annotation."""
    folder.mkdir()
    pixels = project(footage.joints_mm, footage.intrinsics) - PIXEL_CENTRE
    for frame, image in enumerate(footage.images):
        Image.fromarray(image).save(folder / f"color_{frame:06d}.jpg", quality=JPEG_QUALITY)
        joint_3d = np.full((1, JOINT_COUNT, 3), NOT_ANNOTATED, dtype=np.float32)
        joint_2d = np.full((1, JOINT_COUNT, 2), NOT_ANNOTATED, dtype=np.float32)
        if annotated[frame]:
            joint_3d[0], joint_2d[0] = footage.joints_mm[frame] / MM_PER_M, pixels[frame]
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
    path.write_text(yaml.safe_dump(content, sort_keys=False))

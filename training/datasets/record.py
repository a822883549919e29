"""What every labelled dataset yields: one hand in one image with its 3D joints, always as a right hand.

Left hands are mirrored when they are read, image and labels alike, so that every later stage sees right hands
only. Points are in continuous pixel coordinates (see `handsim.geometry`): x right, y down, the first pixel
centred at (0.5, 0.5).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError, UnusableError, did_you_mean
from handsim.geometry import mirror_points
from handsim.hand import Side
from handsim.images import decode_image, read_file
from handsim.skeleton import JOINT_COUNT

MM_PER_M: Final = 1000.0
"""Official files are in metres, records in millimetres."""
MOSTLY_INSIDE: Final = 0.25
"""Share of its joints that a hand must have in its image to be trained on: of a knuckle row and the wrist a
hand can still be guessed, of a fingertip it cannot."""


@dataclass(frozen=True, eq=False)
class HandLabel:
    """The truth of one hand, as a **right** hand.

    For a left hand the image is mirrored, and with it the 2D joints, x of the 3D joints and the camera's K:
    all agree with each other. Joints are in our order (`handsim.skeleton`).
    """

    sample_id: str
    """Unique in its dataset, and the same in every split and release: predictions are stored under it."""
    subject: str
    """Whose hand it is, as far as the dataset says; sequences of one person share it."""
    side: Side
    """The subject's own hand, before any mirroring."""
    size_px: tuple[int, int]
    """Width and height of the image."""
    keypoints_2d_px: NDArray[np.float32]
    """[21, 2] in the image. NaN where not ``valid``."""
    joints_3d_mm: NDArray[np.float32]
    """[21, 3] in the camera frame: x right, y down, z into the image. NaN where not ``valid``, and in
    datasets that have 2D joints alone."""
    intrinsics: NDArray[np.float64]
    """[3, 3] K of the image, in its pixels: ``keypoints_2d_px`` is the projection of ``joints_3d_mm``. NaN in
    datasets that have 2D joints alone."""
    valid: NDArray[np.bool_]
    """[21] which joints are annotated; every loss and every metric leaves the others out."""

    def mirrored(self) -> "HandLabel":
        """The same hand in the mirrored image; ``side`` stays the subject's own."""
        width = self.size_px[0]
        joints, intrinsics = self.joints_3d_mm.copy(), self.intrinsics.copy()
        joints[:, 0] *= -1
        intrinsics[0, 2] = width - intrinsics[0, 2]
        return replace(
            self,
            keypoints_2d_px=mirror_points(self.keypoints_2d_px, width),
            joints_3d_mm=joints,
            intrinsics=intrinsics,
        )


def label_in_2d(
    sample_id: str, subject: str, side: Side, size_px: tuple[int, int], points_px: NDArray[np.floating]
) -> HandLabel:
    """The label of a hand of which 2D joints [21, 2] alone are known, as its picture has them, NaN where not
    annotated; of a left hand it is mirrored.
    """
    label = HandLabel(
        sample_id=sample_id,
        subject=subject,
        side=side,
        size_px=size_px,
        keypoints_2d_px=points_px.astype(np.float32),
        joints_3d_mm=np.full((JOINT_COUNT, 3), np.nan, dtype=np.float32),
        intrinsics=np.full((3, 3), np.nan),
        valid=np.isfinite(points_px).all(axis=1),
    )
    return label.mirrored() if side == "left" else label


@dataclass(frozen=True, eq=False)
class LabelledHand(HandLabel):
    """A label with its image."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB: the whole image as the dataset has it, mirrored if ``side`` is ``left``."""


def joints_inside(label: HandLabel) -> int:
    """How many of the valid joints lie in the image."""
    points = label.keypoints_2d_px[label.valid]
    return int(((points >= 0) & (points <= label.size_px)).all(axis=1).sum())


def lies_in_picture(label: HandLabel) -> bool:
    """Whether enough of a hand is in its image (`MOSTLY_INSIDE`)."""
    return joints_inside(label) >= MOSTLY_INSIDE * int(label.valid.sum())


class HandDataset(Protocol):
    """One split of a labelled dataset; lazy, and picklable, so that workers can have it."""

    name: str
    """As on the command line: ``freihand``."""
    split: str
    """As on the command line: ``train``, ``val``, ``test``, ``s0_train``, ..."""

    def __len__(self) -> int:
        """How many hands."""

    def label(self, index: int) -> HandLabel:
        """The truth of one hand, without its image; raises HandsimError for damaged files."""

    def __getitem__(self, index: int) -> LabelledHand:
        """One hand with its image; raises HandsimError for damaged files, IndexError past the end."""


class StoredDataset(HandDataset, Protocol):
    """A dataset in a folder, as downloaded."""

    skipped: int
    """How many hands of the split are left out, because none of their joints is annotated."""

    def files(self, index: int) -> tuple[Path, ...]:
        """The files of one hand alone, its image first."""


def with_picture(label: HandLabel, path: Path, remedy: str) -> LabelledHand:
    """The label with the image of ``path``, mirrored for a left hand.

    Raises HandsimError, ending in ``remedy`` (how to mend a damaged download), for an image that is missing,
    damaged or not of the label's size.
    """
    if not path.exists():
        raise NotThereError(f"the picture {path} is missing; {remedy}")
    try:
        image = decode_image(read_file(path))
    except UnusableError as error:
        raise HandsimError(f"the picture {path} cannot be read ({error}); {remedy}") from error
    height, width = image.shape[:2]
    if (width, height) != label.size_px:
        expected = "x".join(map(str, label.size_px))
        raise HandsimError(f"the picture {path} is {width}x{height} pixels and not {expected}; {remedy}")
    if label.side == "left":
        image = image.take(np.arange(width)[::-1], axis=1)  # twice as fast as copying image[:, ::-1]
    return LabelledHand(**vars(label), image=image)


def check_split(dataset: str, split: str, known: Iterable[str]) -> None:
    """Raise HandsimError for a split that the dataset does not have, and suggest the nearest one."""
    splits = tuple(known)
    if split not in splits:
        raise HandsimError(
            f"{dataset} has no split {split}{did_you_mean(split, splits)}; it has {', '.join(splits)}"
        )

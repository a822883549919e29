"""One split of AssemblyHands' egocentric pictures, read lazily from the official layout (see `files`).

Not confirmed, as the data could not be seen: that each hand's ``joint_valid`` of the picture and of the frame
are both to be heeded (the toolkit heeds the picture's), and that ``file_name`` is always relative to images/.
The public splits are not those of the paper, and the joints of the public test split are withheld.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import PIXEL_CENTRE, mirror_points
from handsim.hand import Side
from handsim.skeleton import JOINT_COUNT, to_handsim_order
from handsim.synthetic.camera import project
from training.datasets.assemblyhands.annotations import (
    HALVES,
    read_calibration,
    read_hands,
    read_keypoints,
    read_poses,
)
from training.datasets.assemblyhands.files import DOWNLOAD_AGAIN, SPLITS
from training.datasets.names import check_split
from training.datasets.pictures import with_picture
from training.datasets.record import HandLabel, LabelledHand

_EXTRACT_AGAIN: Final = "extract that sequence's archive of ego_images_rectified again"


class AssemblyHands:
    """A `HandDataset` of the hands of a split that have a box: two in a picture are two samples.

    A joint is valid where the annotations of its picture and of its frame both say so. ``skipped`` counts the
    hands with a box and no valid joint. 2D joints are projections of the 3D ones, as in the official toolkit.
    Raises HandsimError for an unknown split, and for annotations that are missing, broken or of another
    version.
    """

    name = "assemblyhands"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root = root
        self.split = split
        self._views, hands = read_hands(root, split)
        self._poses = read_poses(root, split, self._views)
        self._calibration = read_calibration(root, split, self._views)
        frame = self._poses.frame[hands.view]
        in_3d = self._poses.valid[frame].reshape(len(frame), 2, -1)
        valid = hands.valid & np.where(hands.left[:, None], in_3d[:, 1], in_3d[:, 0])
        some = np.asarray(valid.any(axis=1))
        self.skipped = int((~some).sum())
        if not some.any():
            raise HandsimError(
                f"none of the {len(some)} hands of {split} has a valid joint, as where joints are withheld; "
                f"take another split, or {DOWNLOAD_AGAIN}"
            )
        self._annotation, self._view = hands.annotation[some], hands.view[some]
        self._left, self._valid = hands.left[some], valid[some]

    def __len__(self) -> int:
        return len(self._view)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        views, view, side = self._views, int(self._view[index]), self._side(index)
        valid = to_handsim_order(self._valid[index][:, None], self.name)[:, 0]
        world = to_handsim_order(self._poses.world_mm[self._poses.frame[view], HALVES[side]], self.name)
        extrinsics = self._calibration.extrinsics[view]
        joints = np.where(valid[:, None], world @ extrinsics[:, :3].T + extrinsics[:, 3], np.nan)
        intrinsics = self._calibration.intrinsics[views.sequence[view], views.camera[view]].copy()
        intrinsics[:2, 2] += PIXEL_CENTRE  # at whole numbers in the toolkit's camera model
        sequence = views.sequences[views.sequence[view]]
        label = HandLabel(
            sample_id=f"{sequence}/{views.cameras[views.camera[view]]}/{views.frame[view]:06d}/{side}",
            subject=_subject(sequence),
            side=side,
            size_px=(int(views.size_px[view, 0]), int(views.size_px[view, 1])),
            keypoints_2d_px=project(joints, intrinsics).astype(np.float32),
            joints_3d_mm=joints.astype(np.float32),
            intrinsics=intrinsics,
            valid=valid,
        )
        return label.mirrored() if side == "left" else label

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _EXTRACT_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """What one hand is read from, but for the annotations of all: its picture."""
        views, view = self._views, int(self._view[index])
        return (self.root / "images" / views.folders[views.folder[view]] / str(views.file[view]),)

    def annotated_keypoints_px(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """The 2D joints [len, 21, 2] that the annotations hold, told as labels are; NaN where there are none.

        They are not what labels have, which are projections. Reads the file of annotations again.
        """
        keypoints = read_keypoints(self.root, self.split, self._annotation[list(indices)])
        told = np.empty((len(indices), JOINT_COUNT, 2), dtype=np.float32)
        for row, index in enumerate(indices):
            side = self._side(index)
            points = to_handsim_order(keypoints[row, HALVES[side]], self.name) + np.float32(PIXEL_CENTRE)
            width = int(self._views.size_px[self._view[index], 0])
            told[row] = mirror_points(points, width) if side == "left" else points
        return told

    def _side(self, index: int) -> Side:
        return "left" if self._left[index] else "right"


def _subject(sequence: str) -> str:
    """Whose recording it is: the number that precedes ``_user_id`` in a sequence's name."""
    match = re.search(r"_(\d+)_user_id_", sequence)
    return match[1] if match else sequence

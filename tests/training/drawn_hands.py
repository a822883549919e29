"""A labelled set that is drawn in memory. It imports little: worker processes import it, too."""

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from handsim.errors import HandsimError
from handsim.hand import Side
from handsim.skeleton import FINGER_JOINTS
from training.datasets.record import HandLabel, LabelledHand

_OVERSAMPLING = 4
_BONES_MM = (80.0, 35.0, 25.0, 20.0)


def flat_hand_mm() -> NDArray[np.float64]:
    """[21, 3] a spread right hand in the picture's plane, its wrist at the origin, fingers up."""
    joints = np.zeros((21, 3))
    for finger, angle_deg in zip(FINGER_JOINTS.values(), (-55, -25, 0, 22, 44), strict=True):
        angle = np.deg2rad(angle_deg)
        along = np.array([np.sin(angle), -np.cos(angle), 0.0])
        for joint, reach in zip(finger, np.cumsum(_BONES_MM), strict=True):
            joints[joint] = along * reach
    return joints


def dot_colour(joint: int) -> tuple[int, int, int]:
    """RGB of a joint's dot, unlike any other's."""
    channels = colorsys.hsv_to_rgb(joint / 21, 1.0 if joint % 2 else 0.6, 1.0)
    return (round(channels[0] * 255), round(channels[1] * 255), round(channels[2] * 255))


class DrawnHands:
    """A split of ``hands`` hands; ``invalid`` are joints of some rows that are not annotated.

    The picture of row ``damaged`` cannot be read.
    """

    name = "drawn"

    def __init__(
        self,
        hands: int,
        split: str = "train",
        *,
        seed: int = 0,
        scale: float = 1.0,
        invalid: dict[int, list[int]] | None = None,
        damaged: int | None = None,
    ) -> None:
        """Pictures are 96 x 80 pixels times ``scale``."""
        self.split, self._hands, self._seed, self._scale = split, hands, seed, scale
        self._invalid, self._damaged = invalid or {}, damaged

    def __len__(self) -> int:
        return self._hands

    def label(self, index: int) -> HandLabel:
        if not 0 <= index < self._hands:
            raise IndexError(index)
        random = np.random.default_rng([self._seed, index])
        turn = _turn(*random.uniform((-0.5, -0.5, -0.4), (0.5, 0.5, 0.4)))
        size = random.uniform(0.9, 1.1)
        wrist = random.uniform((-20, 40, 500), (20, 80, 500))
        joints = size * flat_hand_mm() @ turn.T + wrist
        focal = 150 * self._scale
        intrinsics = np.array([[focal, 0, 48 * self._scale], [0, focal, 40 * self._scale], [0, 0, 1.0]])
        seen = joints @ intrinsics.T
        keypoints = (seen[:, :2] / seen[:, 2:]).astype(np.float32)
        valid = np.ones(21, np.bool_)
        valid[self._invalid.get(index, [])] = False
        joints[~valid], keypoints[~valid] = np.nan, np.nan
        name, side = f"{self.split}/{index:05d}", _side(index)
        size_px = (round(96 * self._scale), round(80 * self._scale))
        joints_mm = joints.astype(np.float32)
        return HandLabel(name, "nobody", side, size_px, keypoints, joints_mm, intrinsics, valid)

    def __getitem__(self, index: int) -> LabelledHand:
        if index == self._damaged:
            raise HandsimError(f"the picture of hand {index} is cut short")
        label = self.label(index)
        width, height = label.size_px
        picture = Image.new("RGB", (width * _OVERSAMPLING, height * _OVERSAMPLING), (96, 96, 96))
        draw = ImageDraw.Draw(picture)
        radius = 2 * self._scale * _OVERSAMPLING
        for joint, (x, y) in enumerate(label.keypoints_2d_px * _OVERSAMPLING):
            if label.valid[joint]:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=dot_colour(joint))
        image = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
        return LabelledHand(**vars(label), image=image)


def _side(index: int) -> Side:
    return "left" if index % 3 == 2 else "right"


def _turn(about_x: float, about_y: float, about_z: float) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate((about_x, about_y, about_z)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    return turn

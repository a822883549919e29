"""The hand's 21 joints: names, parents, bones, colours, and the joint orders of others.

Our order is the one MediaPipe, FreiHAND and DexYCB use: the wrist, then thumb, index, middle,
ring and little finger, each from its base to its tip.
"""

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError

Scalar = TypeVar("Scalar", bound=np.generic)

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")
JOINT_NAMES: Final[tuple[str, ...]] = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *(f"{finger}_{part}" for finger in FINGERS[1:] for part in ("mcp", "pip", "dip", "tip")),
)
JOINT_COUNT: Final = len(JOINT_NAMES)
WRIST: Final = 0
FINGER_JOINTS: Final = {name: tuple(range(4 * i + 1, 4 * i + 5)) for i, name in enumerate(FINGERS)}
FINGERTIPS: Final = tuple(joints[-1] for joints in FINGER_JOINTS.values())

PARENTS: Final[tuple[int, ...]] = (
    -1,
    *(0 if joint % 4 == 1 else joint - 1 for joint in range(1, JOINT_COUNT)),
)
"""Parent of each joint; the wrist has none (-1). A parent always comes before its children."""

BONES: Final[tuple[tuple[int, int], ...]] = tuple((PARENTS[joint], joint) for joint in range(1, JOINT_COUNT))
"""The 20 (parent, child) pairs, in the order of the child."""

REFERENCE_BONE: Final = (0, 9)
"""Wrist to middle_mcp: the bone whose length fixes the scale of a hand (minimal-hand, REFERENCE)."""

FINGER_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "thumb": (230, 75, 60),
    "index": (240, 160, 30),
    "middle": (70, 175, 80),
    "ring": (40, 140, 220),
    "little": (165, 90, 210),
}
"""RGB, 0-255."""

WRIST_COLOUR: Final = (235, 235, 235)


def joint_colour(joint: int) -> tuple[int, int, int]:
    """RGB (0-255) of a joint, and of the bone that ends in it."""
    return WRIST_COLOUR if joint == WRIST else FINGER_COLOURS[FINGERS[(joint - 1) // 4]]


_IDENTITY: Final = tuple(range(JOINT_COUNT))
_TIPS_FIRST: Final = (20, *(joint for tip in range(0, 20, 4) for joint in (tip + 3, tip + 2, tip + 1, tip)))
_MANO_AND_TIPS: Final = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)

JOINT_ORDERS: Final[dict[str, tuple[int, ...]]] = {
    "handsim": _IDENTITY,
    "mediapipe": _IDENTITY,
    "freihand": _IDENTITY,
    "dexycb": _IDENTITY,
    "coco": _IDENTITY,
    "openpose": _IDENTITY,
    "assemblyhands": _TIPS_FIRST,
    "interhand": _TIPS_FIRST,
    "mano": _MANO_AND_TIPS,
    "ho3d": _MANO_AND_TIPS,
}
"""For each named order the index list with ``ours = theirs[order]``.

assemblyhands and interhand hold, per hand, tips first and the wrist last; mano and ho3d are MANO's 16 joints
followed by the five tips, thumb to little (16-20).
"""


def to_handsim_order(joints: NDArray[Scalar], order: str) -> NDArray[Scalar]:
    """Bring joints [..., 21, C] from a named order into ours; same shape and dtype."""
    return joints[..., _order(joints, order), :]


def from_handsim_order(joints: NDArray[Scalar], order: str) -> NDArray[Scalar]:
    """Bring joints [..., 21, C] from our order into a named one; same shape and dtype."""
    return joints[..., np.argsort(_order(joints, order)), :]


def _order(joints: NDArray[Scalar], order: str) -> NDArray[np.intp]:
    if order not in JOINT_ORDERS:
        raise HandsimError(f"unknown joint order {order!r}; known are {', '.join(JOINT_ORDERS)}")
    if joints.ndim < 2 or joints.shape[-2] != JOINT_COUNT:
        raise HandsimError(f"joints have shape {joints.shape}; expected [..., {JOINT_COUNT}, C]")
    return np.array(JOINT_ORDERS[order], dtype=np.intp)

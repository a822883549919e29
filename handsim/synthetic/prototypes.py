"""The vocabulary of hand shapes: what hands of people do again and again.

Each is written as a person would describe it: of each finger, how far it is bent at its first two joints and
spread (the last joint follows, see `hand_model.DIP_PER_PIP`), and of the thumb its five angles.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple


class Finger(NamedTuple):
    """Of one finger, in degrees."""

    mcp: float
    pip: float
    spread: float = 0.0


class Thumb(NamedTuple):
    """Of the thumb, in degrees; see `hand_model.ANGLES`."""

    out: float
    lift: float
    mcp: float
    ip: float
    roll: float = 0.0


@dataclass(frozen=True)
class Prototype:
    """One hand shape."""

    index: Finger
    middle: Finger
    ring: Finger
    little: Finger
    thumb: Thumb
    cup: float = 3.0
    """How far the palm is hollowed, in degrees."""


_STRAIGHT: Final = Finger(2, 6)
_CURLED: Final = Finger(76, 98)
_BESIDE: Final = Thumb(24, 8, 8, 6)
"""The thumb along the flat hand."""
_AWAY: Final = Thumb(56, 12, 0, -6)
"""The thumb stretched away from the hand."""
_OVER: Final = Thumb(22, 46, 26, 38)
"""The thumb laid over curled fingers."""
_ACROSS: Final = Thumb(2, 38, 34, 44)
"""The thumb folded across the palm under straight fingers."""

PROTOTYPES: Final[dict[str, Prototype]] = {
    "flat": Prototype(Finger(0, 4, 2), Finger(0, 4, 0), Finger(0, 4, -1), Finger(0, 6, -3), _BESIDE, cup=0),
    "spread": Prototype(
        Finger(-6, 6, -11), Finger(-6, 6, -2), Finger(-5, 6, 7), Finger(-5, 8, 15), _AWAY, cup=-2
    ),
    "rest": Prototype(
        Finger(24, 28), Finger(32, 34), Finger(36, 38), Finger(38, 40), Thumb(34, 26, 14, 18), cup=5
    ),
    "fist": Prototype(_CURLED, _CURLED, _CURLED, Finger(80, 94, -3), _OVER, cup=9),
    "thumbs_up": Prototype(_CURLED, _CURLED, _CURLED, Finger(80, 94, -3), Thumb(58, 8, -4, -12), cup=7),
    "point": Prototype(_STRAIGHT, _CURLED, _CURLED, Finger(80, 94, -3), _OVER, cup=7),
    "victory": Prototype(Finger(0, 5, -9), Finger(0, 5, 7), _CURLED, Finger(80, 94, -3), _OVER, cup=7),
    "three": Prototype(Finger(0, 5, -9), Finger(0, 5, 0), Finger(2, 6, 7), Finger(62, 92), _ACROSS, cup=5),
    "four": Prototype(Finger(0, 5, -9), Finger(0, 5, -2), Finger(0, 5, 5), Finger(0, 6, 12), _ACROSS),
    "gun": Prototype(_STRAIGHT, _CURLED, _CURLED, Finger(80, 94, -3), _AWAY, cup=6),
    "gun_two": Prototype(Finger(2, 6, -7), Finger(2, 6, 6), _CURLED, Finger(80, 94, -3), _AWAY, cup=6),
    "call": Prototype(_CURLED, _CURLED, Finger(74, 94), Finger(-2, 6, 12), _AWAY, cup=3),
    "horns": Prototype(Finger(0, 6, -3), _CURLED, _CURLED, Finger(0, 8, 8), _OVER, cup=6),
    "little": Prototype(_CURLED, _CURLED, Finger(72, 94), Finger(0, 8, 6), _OVER, cup=3),
    "pinch": Prototype(
        Finger(50, 46, 0), Finger(50, 52), Finger(52, 56), Finger(52, 58), Thumb(30, 48, 12, 22), cup=6
    ),
    "ok": Prototype(
        Finger(52, 54, 0), Finger(14, 16), Finger(4, 10, 4), Finger(-4, 8, 10), Thumb(28, 46, 14, 26), cup=4
    ),
    "beak": Prototype(
        Finger(58, 24, 3),
        Finger(60, 20, 0),
        Finger(60, 20, -3),
        Finger(58, 24, -8),
        Thumb(24, 52, 4, 8),
        cup=12,
    ),
    "cup": Prototype(
        Finger(28, 34, -2), Finger(30, 36), Finger(32, 36), Finger(32, 38, 2), Thumb(44, 48, 6, 16), cup=10
    ),
    "grasp": Prototype(
        Finger(46, 50, -3), Finger(50, 52), Finger(54, 52), Finger(56, 50, 3), Thumb(36, 52, 10, 26), cup=12
    ),
    "claw": Prototype(
        Finger(-2, 62, -7), Finger(-2, 64, -1), Finger(-2, 64, 5), Finger(0, 62, 11), Thumb(52, 26, 10, 34)
    ),
    "hook": Prototype(Finger(10, 84), Finger(10, 86), Finger(10, 86), Finger(12, 84), _BESIDE, cup=4),
    "bent": Prototype(
        Finger(72, 8), Finger(74, 8), Finger(74, 8), Finger(72, 10), Thumb(26, 24, 6, 6), cup=6
    ),
}
"""Name to shape. The names double as labels: what a hand near one of them shows."""

GRASPING: Final = ("cup", "grasp", "pinch", "claw", "rest")
"""The shapes a hand keeps to while it holds something."""

"""Joint orders as people give them: a name, 21 numbers, or the names of the joints in a COCO category."""

import re
from collections.abc import Sequence
from typing import Any, Final

from handsim.errors import HandsimError
from handsim.skeleton import FINGER_JOINTS, JOINT_COUNT, JOINT_ORDERS, WRIST

JointOrder = tuple[int, ...]
"""``ours = theirs[order]``."""

_FINGERS: Final = {
    "thumb": "thumb",
    "fore": "index",
    "index": "index",
    "middle": "middle",
    "ring": "ring",
    "little": "little",
    "pinky": "little",
    "pinkie": "little",
}
_PARTS: Final = {"tip": 4, "mcp": 1, "pip": 2, "dip": 3}
_THUMB_PARTS: Final = {"tip": 4, "cmc": 1, "mcp": 2, "ip": 3}


def parse_joint_order(text: str) -> JointOrder:
    """An order by name, or as 21 numbers with commas: which of their joints is our joint 0, 1, 2, ...

    Raises HandsimError for anything else.
    """
    if text in JOINT_ORDERS:
        return JOINT_ORDERS[text]
    numbers = re.findall(r"[^\s,]+", text.strip("[]"))
    if all(number.isdecimal() for number in numbers):
        order = tuple(int(number) for number in numbers)
        if sorted(order) == list(range(JOINT_COUNT)):
            return order
    raise HandsimError(
        f"--joint-order {text!r} is neither one of {', '.join(JOINT_ORDERS)} nor the numbers 0 to "
        f"{JOINT_COUNT - 1}, each once: our wrist is their joint ..., our thumb_cmc theirs ..., and so on"
    )


def order_of_names(names: Sequence[Any]) -> JointOrder | None:
    """The order that the names of 21 joints tell; None where they are not joints' names at all.

    The numbers of a finger's joints count from its base. Raises HandsimError for names that contradict one
    another, as two wrists do.
    """
    if len(names) != JOINT_COUNT:
        return None
    joints = [_joint(str(name).lower()) for name in names]
    if all(joint is None for joint in joints):
        return None
    for joint in range(JOINT_COUNT):
        if joints.count(joint) != 1:
            unread = [name for name, read in zip(names, joints, strict=True) if read is None or read == joint]
            raise HandsimError(
                f"the category's keypoints do not name each joint of a hand once (see {unread[:3]}); "
                f"rename them as wrist, thumb_cmc, ... or leave the names out and give --joint-order"
            )
    return tuple(joints.index(joint) for joint in range(JOINT_COUNT))


def _joint(name: str) -> int | None:
    if re.search("wrist|carpus", name):
        return WRIST
    finger = next((finger for word, finger in _FINGERS.items() if word in name), None)
    if finger is None:
        return None
    parts = _THUMB_PARTS if finger == "thumb" else _PARTS
    part = next((number for word, number in parts.items() if word in name), None)
    if part is None and (digit := re.search(r"([1-4])\D*$", name)):
        part = int(digit.group(1))
    return None if part is None else FINGER_JOINTS[finger][part - 1]

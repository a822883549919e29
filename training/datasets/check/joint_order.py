"""Are the joints in our order? A wrong one makes hands that no hand could be.

An order is scored by three things that do not depend on the pose: how far the distances between joints that
one bone or the palm holds together are from those of an average hand, relative to the hand's size; how much
they change from hand to hand; and how often a finger folds back upon itself. The given order has to score
better than every other likely one: the orders of other datasets, any two joints or fingers exchanged, fingers
turned round. Noisy annotations and unusual people make every order score worse, and so do not matter.
"""

from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.skeleton import BONES, FINGER_JOINTS, FINGERS, JOINT_COUNT, JOINT_NAMES, JOINT_ORDERS, WRIST
from training.datasets.check.finding import Finding

Floats = NDArray[np.floating]

BONE_LENGTHS_MM: Final = (
    *(30.0, 37.0, 29.0, 25.0),
    *(92.0, 37.0, 23.0, 21.0),
    *(94.0, 38.0, 25.0, 22.0),
    *(89.0, 36.0, 25.0, 22.0),
    *(82.0, 27.0, 19.0, 20.0),
)
"""Of an adult, in the order of `BONES`: halfway between X-ray averages (Buryanov and Kotiuk, 2010, with the
carpus and the soft tips added) and the mean hand of MANO (Romero et al., 2017), whose fingers are shorter."""

PALM_MM: Final = {
    (5, 9): 23.0,
    (9, 13): 24.0,
    (13, 17): 24.0,
    (5, 13): 45.0,
    (9, 17): 48.0,
    (5, 17): 66.0,
    (1, 5): 69.0,
}
"""Distances between joints of the palm, likewise."""

_PAIRS: Final = np.array([*BONES, *PALM_MM])
_LENGTHS_MM: Final = np.array([*BONE_LENGTHS_MM, *PALM_MM.values()])
_TURNS: Final = np.array(
    [
        chain[place : place + 3]
        for chain in ((WRIST, *FINGER_JOINTS[finger]) for finger in FINGERS)
        for place in range(3)
    ]
)
_OTHERS_MAKE_ORDERS: Final = ("assemblyhands", "mano")
_LEAST_MM: Final = 1e-3

FOLDED_COSINE: Final = -0.5
"""Bones that turn by more than 120 degrees at a joint fold back: no finger can."""
WORST_SCORE: Final = 0.45
"""Hands in the right order score 0.1, or 0.2 with 4 mm of noise; shuffled ones 0.8 and more."""
MARGIN: Final = 0.01
"""Another order has to score better by this much. Of hands in the right order all score worse, by 0.03."""
FEWEST_HANDS: Final = 8


def check_joint_order(hands_mm: Floats) -> Finding:
    """Whether the joints of whole hands [N, 21, 3], in any frame, are in our order."""
    name = "joint order"
    if len(hands_mm) < FEWEST_HANDS:
        detail = f"only {len(hands_mm)} hands have all their joints; {FEWEST_HANDS} are needed"
        return Finding(name, "skipped", detail)
    distances = joint_distances(hands_mm)
    own = order_score(distances, np.arange(JOINT_COUNT))
    scores = {suspicion: order_score(distances, order) for suspicion, order in _SUSPECTS.items()}
    best = min(scores, key=lambda suspicion: scores[suspicion])
    numbers = {"score": own, "best_other_score": scores[best]}
    if scores[best] < own - MARGIN:
        return Finding(name, "failed", f"{best}: that makes better hands", numbers)
    if own > WORST_SCORE:
        return Finding(
            name, "failed", "the joints make no hands, in this order or any that was tried", numbers
        )
    return Finding(name, "passed", f"none of {len(scores)} others makes better hands", numbers)


def joint_distances(hands_mm: Floats) -> NDArray[np.float64]:
    """Distances [21, 21, N] between the joints of hands [N, 21, 3]; no less than `_LEAST_MM`."""
    joints = hands_mm.astype(np.float64).transpose(1, 2, 0)
    distances: NDArray[np.float64] = np.linalg.norm(joints[:, None] - joints[None], axis=2)
    return np.maximum(distances, _LEAST_MM)


def order_score(distances_mm: NDArray[np.float64], order: NDArray[np.intp]) -> float:
    """How bad hands of `joint_distances` are with the joints ``order`` [21]; 0 is average and noiseless."""
    pairs = order[_PAIRS]
    ratios = np.log(distances_mm[pairs[:, 0], pairs[:, 1]] / _LENGTHS_MM[:, None])
    ratios -= np.median(ratios, axis=0)
    usual = np.median(ratios, axis=1)
    changes = np.median(np.abs(ratios - usual[:, None]), axis=1)
    before, joint, after = order[_TURNS].T
    first, second = distances_mm[before, joint], distances_mm[joint, after]
    # The law of cosines, with the angle by which the second bone turns away from the first.
    cosines = (distances_mm[before, after] ** 2 - first**2 - second**2) / (2 * first * second)
    return float(np.abs(usual).mean() + changes.mean() + (cosines < FOLDED_COSINE).mean())


def _suspects() -> dict[str, NDArray[np.intp]]:
    """What may be wrong, and the order [21] of the given joints that would be right then."""
    suspects: dict[str, NDArray[np.intp]] = {}
    for name in _OTHERS_MAKE_ORDERS:
        order = np.array(JOINT_ORDERS[name], dtype=np.intp)
        suspects[f"the joints seem to be in the order of {name}"] = order
        suspects[f"the joints seem to be reordered from that of {name} once too often"] = np.argsort(order)
    for first, second in combinations(range(JOINT_COUNT), 2):
        names = f"{JOINT_NAMES[first]} and {JOINT_NAMES[second]}"
        suspects[f"{names} seem to be exchanged"] = _replaced([first, second], [second, first])
    fingers = {finger: list(FINGER_JOINTS[finger]) for finger in FINGERS}
    for (one, its), (other, others) in combinations(fingers.items(), 2):
        suspects[f"{one} and {other} finger seem to be exchanged"] = _replaced(
            [*its, *others], [*others, *its]
        )
    for finger, joints in fingers.items():
        suspects[f"the {finger} seems to go from tip to base"] = _replaced(joints, joints[::-1])
    forward = [joint for joints in fingers.values() for joint in joints]
    from_tips = [joint for joints in fingers.values() for joint in joints[::-1]]
    little_first = [joint for joints in reversed(fingers.values()) for joint in joints]
    suspects["the fingers seem to go from tip to base"] = _replaced(forward, from_tips)
    suspects["the fingers seem to go from little finger to thumb"] = _replaced(forward, little_first)
    return suspects


def _replaced(joints: list[int], others: list[int]) -> NDArray[np.intp]:
    """Our order with ``others`` in the places of ``joints``."""
    order = np.arange(JOINT_COUNT)
    order[joints] = others
    return order


_SUSPECTS: Final = _suspects()

"""Checks of labels by what is true of every hand and camera: each gives one `Finding`.

Do 3D joints, cameras and images belong together (`check_projection`, `check_depth`, `check_inside`)? Are the
joints in our order (`check_joint_order`), in millimetres (`check_units`), of a hand (`check_bones`), and of
the right side (`check_sides`)? Bounds are wide: noisy annotations and unusual people pass, wrong conventions
do not.

An order of joints is scored by three numbers that do not depend on the pose: how far the distances between
joints of one bone or of the palm are from those of an average hand of that size; how much they change from
hand to hand; and how often a finger folds back on itself. The order of the files has to score better than
every other likely one: those of other datasets, any two joints or fingers exchanged, fingers reversed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from handsim.hand import SIDES, Side
from handsim.skeleton import (
    BONES,
    FINGER_JOINTS,
    FINGERS,
    JOINT_COUNT,
    JOINT_NAMES,
    JOINT_ORDERS,
    REFERENCE_BONE,
    WRIST,
)
from handsim.synthetic.camera import project
from training.datasets.record import HandLabel

Verdict = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    check: str
    """Which check: ``units``, ``joint order``, ..."""
    verdict: Verdict
    """``skipped`` where there is nothing to check."""
    detail: str
    """What was measured, and where it failed what is likely wrong; one line."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Measurements; names have the units."""


Floats = NDArray[np.floating]

MEDIAN_PX: Final = 2.0
"""Bound of the median distance between projections and annotated 2D joints."""
FAR_PX: Final = 10.0
FAR_SHARE: Final = 0.05
"""Share of the joints that may be farther away than `FAR_PX`: some annotations are bad."""
OUTSIDE_SHARE: Final = 0.5
"""Share of the joints that may lie outside of their images."""
NEAREST_MM: Final = 50.0
FARTHEST_MM: Final = 5000.0
DEPTH_SHARE: Final = 0.02
"""Share of the joints that may be nearer or farther than that."""


def _finding(check: str, problem: str, detail: str, numbers: dict[str, float]) -> Finding:
    """Failed where there is a ``problem``, which follows the detail."""
    return Finding(check, "failed" if problem else "passed", detail + problem, numbers)


def check_projection(labels: Sequence[HandLabel], annotated_px: Floats | None) -> Finding:
    """Whether 3D joints, projected by K, fall on the annotated 2D joints [N, 21, 2]; None: there are none."""
    name = "projection"
    if annotated_px is None:
        return Finding(name, "skipped", "the files have no 2D joints; the reader projects the 3D ones")
    projected = np.stack(
        [project(label.joints_3d_mm.astype(np.float64), label.intrinsics) for label in labels]
    )
    errors = np.linalg.norm(projected - annotated_px, axis=-1)
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        return Finding(name, "skipped", "no joint is annotated in 3D and in 2D")
    median, most, far = float(np.median(errors)), float(errors.max()), float((errors > FAR_PX).mean())
    numbers = {"median_px": median, "max_px": most, "farther_than_10_px_share": far}
    detail = f"3D joints fall {median:.3g} px from the 2D ones in the median, {most:.3g} px at most"
    is_far = median > MEDIAN_PX or far > FAR_SHARE
    problem = "; joints or cameras are of other pictures, or in another frame" if is_far else ""
    return _finding(name, problem, detail, numbers)


def check_depth(labels: Sequence[HandLabel]) -> Finding:
    """Whether hands are in front of the camera, at a plausible distance."""
    depth = np.concatenate([label.joints_3d_mm[label.valid, 2] for label in labels])
    median, wrong = float(np.median(depth)), float(((depth < NEAREST_MM) | (depth > FARTHEST_MM)).mean())
    numbers = {"median_depth_mm": median, "implausible_share": wrong}
    detail = f"hands are {median:.0f} mm from the camera in the median"
    bounds = f"{NEAREST_MM:.0f} to {FARTHEST_MM:.0f} mm"
    problem = f", and {wrong:.0%} of the joints not within {bounds}: they are not in the camera frame"
    return _finding("distance", problem if wrong > DEPTH_SHARE else "", detail, numbers)


def check_inside(labels: Sequence[HandLabel]) -> Finding:
    """Whether most 2D joints lie in their images."""
    points = np.concatenate([label.keypoints_2d_px[label.valid] / label.size_px for label in labels])
    share = float(((points < 0) | (points > 1)).any(axis=1).mean())
    detail = f"{share:.1%} of the joints lie outside of their pictures"
    problem = ": pictures or cameras are of another size" if share > OUTSIDE_SHARE else ""
    return _finding("in the picture", problem, detail, {"outside_share": share})


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

PALM_AND_BONES: Final = (*BONES, *PALM_MM)
"""The pairs of joints whose distances no pose changes."""
_PAIRS: Final = np.array(PALM_AND_BONES)
_LENGTHS_MM: Final = np.array([*BONE_LENGTHS_MM, *PALM_MM.values()])
_TURNS: Final = np.array(
    [
        chain[place : place + 3]
        for chain in ((WRIST, *FINGER_JOINTS[finger]) for finger in FINGERS)
        for place in range(3)
    ]
)
_OTHER_ORDERS: Final = ("assemblyhands", "mano")
_LEAST_MM: Final = 1e-3

FOLDED_COSINE: Final = -0.5
"""Bones that turn by more than 120 degrees at a joint fold back, which no finger can."""
WORST_SCORE: Final = 0.45
"""Hands in the right order score 0.1, or 0.2 with 4 mm of noise; shuffled ones 0.8 and more."""
MARGIN: Final = 0.01
"""Another order has to score better by this much; for hands in the right order, all others are 0.03 worse."""
FEWEST_HANDS: Final = 8


def check_joint_order(hands_mm: Floats) -> Finding:
    """Whether the joints of complete hands [N, 21, 3], in any frame, are in our order."""
    name = "joint order"
    if len(hands_mm) < FEWEST_HANDS:
        detail = f"only {len(hands_mm)} hands have all their joints; {FEWEST_HANDS} are needed"
        return Finding(name, "skipped", detail)
    distances = joint_distances(hands_mm)
    own = order_score(distances, np.arange(JOINT_COUNT))
    scores = {suspicion: order_score(distances, order) for suspicion, order in SUSPECTS.items()}
    best = min(scores, key=lambda suspicion: scores[suspicion])
    numbers = {"score": own, "best_other_score": scores[best]}
    if scores[best] < own - MARGIN:
        return Finding(name, "failed", f"{best}: that makes better hands", numbers)
    if own > WORST_SCORE:
        detail = "the joints are not those of hands, in this order or any other that was tried"
        return Finding(name, "failed", detail, numbers)
    return Finding(name, "passed", f"none of {len(scores)} others makes better hands", numbers)


def joint_distances(hands_mm: Floats) -> NDArray[np.float64]:
    """Distances [21, 21, N] between the joints of hands [N, 21, 3]; no less than `_LEAST_MM`."""
    joints = hands_mm.astype(np.float64).transpose(1, 2, 0)
    distances: NDArray[np.float64] = np.linalg.norm(joints[:, None] - joints[None], axis=2)
    return np.maximum(distances, _LEAST_MM)


def order_score(distances_mm: NDArray[np.float64], order: NDArray[np.intp]) -> float:
    """Score of an ``order`` [21] of the joints of `joint_distances`; 0 is an average hand without noise."""
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
    """Error -> the order [21] of the files' joints that would then be ours."""
    suspects: dict[str, NDArray[np.intp]] = {}
    for name in _OTHER_ORDERS:
        order = np.array(JOINT_ORDERS[name], dtype=np.intp)
        suspects[f"the joints seem to be in the order of {name}"] = order
        suspects[f"the joints seem to be reordered from that of {name} once too often"] = np.argsort(order)
    for first, second in combinations(range(JOINT_COUNT), 2):
        names = f"{JOINT_NAMES[first]} and {JOINT_NAMES[second]}"
        suspects[f"{names} seem to be exchanged"] = _exchange([first, second], [second, first])
    fingers = {finger: list(FINGER_JOINTS[finger]) for finger in FINGERS}
    for (one, its), (other, others) in combinations(fingers.items(), 2):
        suspects[f"{one} and {other} finger seem to be exchanged"] = _exchange(
            [*its, *others], [*others, *its]
        )
    for finger, joints in fingers.items():
        suspects[f"the {finger} seems to go from tip to base"] = _exchange(joints, joints[::-1])
    forward = [joint for joints in fingers.values() for joint in joints]
    from_tips = [joint for joints in fingers.values() for joint in joints[::-1]]
    little_first = [joint for joints in reversed(fingers.values()) for joint in joints]
    suspects["the fingers seem to go from tip to base"] = _exchange(forward, from_tips)
    suspects["the fingers seem to go from little finger to thumb"] = _exchange(forward, little_first)
    return suspects


def _exchange(joints: list[int], others: list[int]) -> NDArray[np.intp]:
    """Our order with ``others`` at the indices ``joints``."""
    order = np.arange(JOINT_COUNT)
    order[joints] = others
    return order


SUSPECTS: Final = _suspects()
"""Likely errors, each with the order [21] of the files' joints that would then be ours."""


_BONES: Final = np.array(BONES)
_USUAL_MM: Final = np.array(BONE_LENGTHS_MM)
_BASES: Final = [FINGER_JOINTS[finger][0] for finger in FINGERS[1:]]
_TIPS: Final = [FINGER_JOINTS[finger][-1] for finger in FINGERS[1:]]
_THUMB_TIP: Final = FINGER_JOINTS["thumb"][-1]

PLAUSIBLE_REFERENCE_MM: Final = (50.0, 140.0)
"""Wrist to middle_mcp, from small children to very large adults, with room."""
PLAUSIBLE_RATIO: Final = (0.55, 1.8)
"""A bone's median length over all hands, for the hand's size, relative to the average hand's."""
POSSIBLE_RATIO: Final = (0.25, 4.0)
"""The same in a single hand."""
IMPOSSIBLE_SHARE: Final = 0.02
"""Share of the hands that may have an impossible bone: annotators make mistakes."""
CLEARLY_CURLED: Final = 0.2
"""Distance of tips from the palm's plane, relative to wrist to middle_mcp, that tells palm from back."""
RIGHT_SHARE: Final = 0.9
"""Share of the clearly curled hands that must curl as a right hand does."""


def check_units(joints_mm: Floats) -> Finding:
    """Whether joints [N, 21, 3] (NaN where not annotated) are in millimetres, by wrist to middle_mcp."""
    lengths = _lengths(joints_mm)[:, BONES.index(REFERENCE_BONE)]
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths):
        return Finding("units", "skipped", "no hand has both its wrist and its middle_mcp")
    median = float(np.median(lengths))
    detail = f"wrist to middle_mcp is {median:.4g} mm in the median"
    numbers = {"wrist_to_middle_mcp_mm": median}
    if PLAUSIBLE_REFERENCE_MM[0] <= median <= PLAUSIBLE_REFERENCE_MM[1]:
        return Finding("units", "passed", detail, numbers)
    factor = 10.0 ** round(float(np.log10(max(median, 1e-9) / _USUAL_MM[BONES.index(REFERENCE_BONE)])))
    detail += f"; lengths in the files seem to be {factor:g} times as large as in the official ones"
    return Finding("units", "failed", detail, numbers)


def check_bones(joints_mm: Floats, sample_ids: Sequence[str]) -> Finding:
    """Whether bones have the lengths of a hand of that size; joints [N, 21, 3] are NaN where not
    annotated."""
    name = "bone lengths"
    ratios = _lengths(joints_mm) / _USUAL_MM
    known = np.isfinite(ratios).any(axis=1)
    if not known.any():
        return Finding(name, "skipped", "no bone has both its joints")
    ratios, ids = ratios[known], np.array(sample_ids)[known]
    ratios = ratios / np.maximum(np.nanmedian(ratios, axis=1, keepdims=True), 1e-9)
    annotated = np.isfinite(ratios).any(axis=0)
    medians = np.full(len(BONES), np.nan)
    medians[annotated] = np.nanmedian(ratios[:, annotated], axis=0)
    with np.errstate(invalid="ignore"):  # NaN is in no range and breaks none
        odd = (medians < PLAUSIBLE_RATIO[0]) | (medians > PLAUSIBLE_RATIO[1])
        impossible = ((ratios < POSSIBLE_RATIO[0]) | (ratios > POSSIBLE_RATIO[1])).any(axis=1)
    numbers = {
        "shortest_median_ratio": float(np.nanmin(medians)),
        "longest_median_ratio": float(np.nanmax(medians)),
        "impossible_hands": float(impossible.sum()),
    }
    if odd.any():
        bone = int(np.flatnonzero(odd)[0])
        parent, child = (JOINT_NAMES[joint] for joint in BONES[bone])
        detail = f"{parent} to {child} is {medians[bone]:.2f} times as long as in a hand of that size"
        return Finding(name, "failed", detail, numbers)
    if impossible.mean() > IMPOSSIBLE_SHARE:
        first = ids[impossible][0]
        detail = f"{impossible.sum()} of {len(ratios)} hands have an impossible bone, such as {first}"
        return Finding(name, "failed", detail, numbers)
    low, high = numbers["shortest_median_ratio"], numbers["longest_median_ratio"]
    return Finding(name, "passed", f"{low:.2f} to {high:.2f} times those of an average hand", numbers)


def check_sides(hands_mm: Floats, sides: Sequence[Side]) -> Finding:
    """Whether complete hands [N, 21, 3] in the camera frame are right hands, as all records are.

    Fingers and thumb curl to the palm's side, and the cross product from index to little finger points out of
    a right palm. Each of ``sides``, the subjects' own hands, is checked separately.
    """
    name = "left and right"
    wrist = hands_mm[:, WRIST]
    size = np.linalg.norm(hands_mm[:, REFERENCE_BONE[1]] - wrist, axis=-1)
    normal = np.cross(hands_mm[:, _BASES[0]] - wrist, hands_mm[:, _BASES[-1]] - wrist)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    curl = (hands_mm[:, _TIPS] - hands_mm[:, _BASES]).mean(axis=1) + hands_mm[:, _THUMB_TIP] - wrist
    curl = (curl * normal).sum(axis=-1) / np.maximum(size, 1e-9)
    clear = np.abs(curl) > CLEARLY_CURLED
    numbers, wrong = {}, []
    for side in SIDES:
        some = curl[clear & (np.array(sides) == side)]
        if len(some) < FEWEST_HANDS:
            continue
        share = float((some > 0).mean())
        numbers[f"{side}_as_told_share"] = share
        if share < RIGHT_SHARE:
            wrong.append(f"{1 - share:.0%} of the hands labelled {side} are not")
    if wrong:
        return Finding(name, "failed", "; ".join(wrong), numbers)
    if not numbers:
        return Finding(name, "skipped", f"fewer than {FEWEST_HANDS} hands of either side are clearly curled")
    return Finding(name, "passed", f"{clear.sum()} hands curl to the palm of their labelled side", numbers)


def _lengths(joints_mm: Floats) -> NDArray[np.float64]:
    """Bone lengths [N, 20], NaN where a joint is not annotated."""
    joints = joints_mm.astype(np.float64)
    lengths: NDArray[np.float64] = np.linalg.norm(joints[:, _BONES[:, 0]] - joints[:, _BONES[:, 1]], axis=-1)
    return lengths

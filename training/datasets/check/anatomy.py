"""Are the joints those of a hand, in millimetres, and of the side that is told?"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.hand import SIDES, Side
from handsim.skeleton import BONES, FINGER_JOINTS, FINGERS, JOINT_NAMES, REFERENCE_BONE, WRIST
from training.datasets.check.finding import Finding
from training.datasets.check.joint_order import BONE_LENGTHS_MM, FEWEST_HANDS

Floats = NDArray[np.floating]

_BONES: Final = np.array(BONES)
_USUAL_MM: Final = np.array(BONE_LENGTHS_MM)
_BASES: Final = [FINGER_JOINTS[finger][0] for finger in FINGERS[1:]]
_TIPS: Final = [FINGER_JOINTS[finger][-1] for finger in FINGERS[1:]]
_THUMB_TIP: Final = FINGER_JOINTS["thumb"][-1]

PLAUSIBLE_REFERENCE_MM: Final = (50.0, 140.0)
"""Wrist to middle_mcp, from small children to very large adults, with room."""
PLAUSIBLE_RATIO: Final = (0.55, 1.8)
"""A bone's median length in all hands, for the hand's size, relative to the average hand's."""
POSSIBLE_RATIO: Final = (0.25, 4.0)
"""The same in a single hand."""
IMPOSSIBLE_SHARE: Final = 0.02
"""Share of the hands that may have an impossible bone: annotators slip, too."""
CLEARLY_CURLED: Final = 0.2
"""How far tips have to lie off the palm's plane, relative to wrist to middle_mcp, to tell palm from back."""
RIGHT_SHARE: Final = 0.9
"""Share of the clearly curled hands that have to curl as a right hand does."""


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
    """Whether bones are as long as a hand's of that size; joints [N, 21, 3] are NaN where not annotated."""
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
    """Whether whole hands [N, 21, 3] in the camera frame are right hands, as records tell all hands.

    Fingers and thumb curl to the palm's side, and the cross product from index to little finger points out of
    a right palm. Each of ``sides`` (what the subject's hands are said to be) is judged apart.
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
            wrong.append(f"{1 - share:.0%} of the hands told to be {side} ones are not")
    if wrong:
        return Finding(name, "failed", "; ".join(wrong), numbers)
    if not numbers:
        return Finding(name, "skipped", f"fewer than {FEWEST_HANDS} hands of either side are clearly curled")
    return Finding(name, "passed", f"{clear.sum()} hands curl to the palm of the side they are told", numbers)


def _lengths(joints_mm: Floats) -> NDArray[np.float64]:
    """Bone lengths [N, 20], NaN where a joint is not annotated."""
    joints = joints_mm.astype(np.float64)
    lengths: NDArray[np.float64] = np.linalg.norm(joints[:, _BONES[:, 0]] - joints[:, _BONES[:, 1]], axis=-1)
    return lengths

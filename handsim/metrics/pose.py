"""How well a set of hands was estimated: errors of predicted joints in 3D (mm) and 2D (px), and their scores.

FreiHAND, DexYCB and AssemblyHands agree (their official evaluations): a number is taken for each joint over
the hands that have it, and the mean over the joints is reported. Where every joint is valid, the mean is
the plain mean of all errors. Errors are float [N, 21], NaN where a joint is not to be measured.

The mean pose of the training hands, predicted for every hand, is the floor that others are read against: what
a predictor scores that never looks at the picture.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.metrics.alignment import (
    Floats,
    PoseComparison,
    align_procrustes,
    align_root,
    align_root_and_scale,
    check_truth,
    compare_poses,
)
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES, WRIST


@dataclass(frozen=True)
class PckRange:
    """Evenly spaced thresholds of PCK, both ends included: the share of joints that err no more than each."""

    lowest_mm: float
    highest_mm: float
    steps: int

    @property
    def thresholds_mm(self) -> Floats:
        """[steps] ascending."""
        return np.linspace(self.lowest_mm, self.highest_mm, self.steps)


PCK_0_50: Final = PckRange(0.0, 50.0, 100)
"""FreiHAND's and DexYCB's range."""

PCK_20_50: Final = PckRange(20.0, 50.0, 15)
"""The range of the one call that survives in SiMHand's code."""


@dataclass(frozen=True)
class AlignmentScores:
    """The numbers of one alignment; each is the mean over joints of the joint's own number."""

    hands: int
    """How many hands could be measured."""
    joints: int
    """How many joints of these were."""
    mpjpe_mm: float
    """Mean per-joint position error."""
    median_mm: float
    """Mean over joints of the median error."""
    auc_0_50: float
    """Area under ``pck_0_50``, in 0 to 1."""
    auc_20_50: float
    """Area under ``pck_20_50``, in 0 to 1."""
    joint_mpjpe_mm: tuple[float | None, ...]
    """Mean error of each of the 21 joints; None for a joint that no hand has."""
    pck_0_50: tuple[float, ...]
    """Share of joints within each of the 100 thresholds of 0 to 50 mm."""
    pck_20_50: tuple[float, ...]
    """Share of joints within each of the 15 thresholds of 20 to 50 mm."""


@dataclass(frozen=True)
class PoseScores:
    """The scores of a set of predictions; ``dataclasses.asdict`` makes JSON of them.

    FreiHAND reports absolute and procrustes, DexYCB absolute, root-relative and procrustes, AssemblyHands
    root-relative, SiMHand root-and-scale.
    """

    hands: int
    """How many hands there were, with those that could not be measured."""
    absolute: AlignmentScores
    """Joints as they were predicted, in the camera frame."""
    root_relative: AlignmentScores
    """With the wrist on the true wrist."""
    root_scale: AlignmentScores
    """With the wrist there, and the bone from wrist to middle_mcp as long as the true one."""
    procrustes: AlignmentScores
    """Best translation, scale and rotation or reflection: FreiHAND's official one, blind to mirroring."""
    procrustes_proper: AlignmentScores
    """Best translation, scale and rotation."""


def score_poses(predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_]) -> PoseScores:
    """Measure predictions [N, 21, 3] against the truth [N, 21, 3], both in mm in the camera frame.

    ``valid`` [N, 21] are the annotated joints; the others are left out of every fit and every number, and
    may be NaN. Raises HandsimError for shapes and counts that do not match, for valid joints that are not
    finite, where no joint is valid, and for hands that are a point or lack the length of the reference bone.
    """
    return score_aligned(measure_aligned(predicted_mm, true_mm, valid))


@dataclass(frozen=True, eq=False)
class AlignedErrors:
    """Errors [N, 21] in mm of the same hands after each alignment of `PoseScores`; NaN where not measured."""

    absolute: Floats
    root_relative: Floats
    root_scale: Floats
    procrustes: Floats
    procrustes_proper: Floats


def measure_aligned(predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_]) -> AlignedErrors:
    """The errors that `score_poses` sums up; takes and raises the same."""
    poses = compare_poses(predicted_mm, true_mm, valid)
    if not valid.any():
        raise HandsimError(
            f"no joint of the {len(valid)} hands is valid, so there is nothing to measure; "
            "choose a split with annotated hands"
        )
    return AlignedErrors(
        absolute=joint_errors_mm(poses),
        root_relative=joint_errors_mm(align_root(poses)),
        root_scale=joint_errors_mm(align_root_and_scale(poses)),
        procrustes=joint_errors_mm(align_procrustes(poses, proper=False)),
        procrustes_proper=joint_errors_mm(align_procrustes(poses, proper=True)),
    )


def score_aligned(errors: AlignedErrors) -> PoseScores:
    """Sum up the errors of a set of hands."""
    scores = {field.name: score_errors(getattr(errors, field.name)) for field in fields(errors)}
    return PoseScores(hands=len(errors.absolute), **scores)


def joint_errors_mm(poses: PoseComparison) -> Floats:
    """Euclidean distances [N, 21] of the predicted joints to the true ones; NaN where not valid."""
    return np.where(poses.valid, np.linalg.norm(poses.predicted_mm - poses.true_mm, axis=-1), np.nan)


def score_errors(errors_mm: Floats) -> AlignmentScores:
    """Sum up errors [N, 21], NaN where a joint was not measured; raises HandsimError where none was."""
    _check_measured(errors_mm)
    measured = ~np.isnan(errors_mm)
    joint_means = _nan_mean(errors_mm, axis=0)
    wide, narrow = pck_curve(errors_mm, PCK_0_50), pck_curve(errors_mm, PCK_20_50)
    return AlignmentScores(
        hands=int(measured.any(axis=1).sum()),
        joints=int(measured.sum()),
        mpjpe_mm=float(np.nanmean(joint_means)),
        median_mm=_mean_of_medians(errors_mm),
        auc_0_50=area_under_curve(wide, PCK_0_50),
        auc_20_50=area_under_curve(narrow, PCK_20_50),
        joint_mpjpe_mm=tuple(None if np.isnan(error) else error for error in joint_means.tolist()),
        pck_0_50=tuple(wide.tolist()),
        pck_20_50=tuple(narrow.tolist()),
    )


def pck_curve(errors_mm: Floats, thresholds: PckRange) -> Floats:
    """The share [steps] of errors [N, 21] that are at most each threshold, in 0 to 1.

    Taken for each joint over the hands that have it (not NaN), then averaged over joints, as FreiHAND does.
    At least one error must not be NaN.
    """
    joints, steps = errors_mm.shape[1], thresholds.steps
    # NaN sorts last, so it counts as reached by no threshold.
    first_reached = np.searchsorted(thresholds.thresholds_mm, errors_mm, side="left")
    bins = first_reached + np.arange(joints) * (steps + 1)
    histogram = np.bincount(bins.ravel(), minlength=joints * (steps + 1)).reshape(joints, steps + 1)
    counts = (~np.isnan(errors_mm)).sum(axis=0)
    measured = counts > 0
    within = histogram[measured, :steps].cumsum(axis=1) / counts[measured, None]
    curve: Floats = within.mean(axis=0)
    return curve


def area_under_curve(curve: Floats, thresholds: PckRange) -> float:
    """Area under a PCK curve [steps] by the trapezoid rule, over the range's width: in 0 to 1."""
    width = thresholds.highest_mm - thresholds.lowest_mm
    return float(np.trapezoid(curve, thresholds.thresholds_mm) / width)


def area_of_each_error(errors_mm: Floats, thresholds: PckRange) -> Floats:
    """What each error [N, 21] adds to the area under the curve, which is their mean; NaN stays NaN.

    An error is within all thresholds from itself on: its own curve is a step from 0 to 1.
    """
    steps = thresholds.thresholds_mm
    share = np.full(len(steps), 1 / (len(steps) - 1))  # the trapezoid rule counts both ends half
    share[[0, -1]] /= 2
    from_each_on = np.append(share[::-1].cumsum()[::-1], 0.0)
    areas: Floats = from_each_on[np.searchsorted(steps, errors_mm, side="left")]
    return np.where(np.isnan(errors_mm), np.nan, areas)


def mean_of_each_hand_mm(errors_mm: Floats) -> Floats:
    """Mean [N] of the errors [N, 21] of each hand, NaN where it has none; raises as `score_errors` does."""
    _check_measured(errors_mm)
    return _nan_mean(errors_mm, axis=1)


def _check_measured(errors_mm: Floats) -> None:
    if np.isnan(errors_mm).all():
        raise HandsimError(
            f"none of the joints of the {len(errors_mm)} hands can be measured: they are not valid, or their "
            "hands lack the joints to be aligned by; choose a split with annotated hands"
        )


def _nan_mean(errors: Floats, axis: int) -> Floats:
    counts = (~np.isnan(errors)).sum(axis=axis)
    mean: Floats = np.nansum(errors, axis=axis) / np.where(counts > 0, counts, np.nan)
    return mean


def _mean_of_medians(errors: Floats) -> float:
    measured = ~np.isnan(errors).all(axis=0)
    return float(np.nanmedian(errors[:, measured], axis=0).mean())


def mean_pose_mm(joints_mm: ArrayLike, valid: NDArray[np.bool_]) -> Floats:
    """The mean hand [21, 3] of joints [N, 21, 3] in the camera frame, at their mean wrist.

    Each joint is averaged relative to the wrist over the hands in which both are ``valid`` [N, 21]. Raises
    HandsimError for a joint that no hand has, and as `check_truth` does.
    """
    joints = check_truth(joints_mm, valid)
    usable = valid & valid[:, [WRIST]]
    counts = usable.sum(axis=0)
    if (counts == 0).any():
        raise HandsimError(
            f"no training hand has both {JOINT_NAMES[WRIST]} and {JOINT_NAMES[int((counts == 0).argmax())]} "
            "valid, so there is no mean pose; choose training hands that have every joint at least once"
        )
    relative = np.where(usable[..., None], joints - joints[:, [WRIST]], 0).sum(axis=0) / counts[:, None]
    mean: Floats = relative + joints[usable[:, WRIST], WRIST].mean(axis=0)
    return mean


@dataclass(frozen=True)
class KeypointScores:
    """The numbers of a set of hands in 2D, each the mean over joints of the joint's own number."""

    mean_px: float
    """Mean distance. Pictures of different sizes cannot be compared by it."""
    median_px: float
    """Mean over joints of the median distance."""


def score_keypoints(
    predicted_px: ArrayLike, true_px: ArrayLike, valid: NDArray[np.bool_]
) -> KeypointScores | None:
    """Measure 2D joints [N, 21, 2]; ``valid`` [N, 21] are the annotated ones, the others may be NaN.

    None where none is valid. Raises HandsimError for other shapes, for counts that do not match, and for
    predictions that are not finite where they are valid.
    """
    predicted, true = np.asarray(predicted_px, np.float64), np.asarray(true_px, np.float64)
    expected = (len(valid), JOINT_COUNT, 2)
    for joints, kind in ((predicted, "predicted"), (true, "true")):
        if joints.shape != expected:
            raise HandsimError(
                f"the {kind} 2D joints have shape {joints.shape}; expected {expected}, in pixels"
            )
    if not valid.any():
        return None
    errors = np.where(valid, np.linalg.norm(predicted - true, axis=-1), np.nan)
    broken = valid & ~np.isfinite(errors)
    if broken.any():
        raise HandsimError(
            f"the 2D joints of sample {int(broken.any(axis=1).argmax())} are not finite "
            f"({int(broken.any(axis=1).sum())} of {len(valid)} samples are not); predict again with a "
            "network that has not diverged, or mend the annotation"
        )
    joint_means = _nan_mean(errors[:, valid.any(axis=0)], axis=0)
    return KeypointScores(mean_px=float(joint_means.mean()), median_px=_mean_of_medians(errors))

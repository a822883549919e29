"""All that is told of how well a set of hands was estimated in 3D."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.metrics.alignment import align_procrustes, align_root, align_root_and_scale
from handsim.metrics.checked_joints import checked_joints
from handsim.metrics.joint_errors import joint_errors_mm, mean_of_each_joint_mm, median_mm, mpjpe_mm
from handsim.metrics.pck import PCK_0_50, PCK_20_50, area_under_curve, pck_curve


@dataclass(frozen=True)
class AlignmentScores:
    """The numbers of one alignment; each is the mean over joints of the joint's own (`joint_errors`)."""

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
    """Wrists laid upon each other."""
    root_scale: AlignmentScores
    """And the bone from wrist to middle_mcp made equally long."""
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
    predicted, true = checked_joints(predicted_mm, true_mm, valid)
    if not valid.any():
        raise HandsimError(
            f"no joint of the {len(true)} hands is valid, so there is nothing to measure; "
            "choose a split with annotated hands"
        )
    rooted = align_root(predicted, true, valid)
    scaled = align_root_and_scale(predicted, true, valid)
    fitted = align_procrustes(predicted, true, valid, proper=False)
    turned = align_procrustes(predicted, true, valid, proper=True)
    return PoseScores(
        hands=len(true),
        absolute=score_errors(joint_errors_mm(predicted, true, valid)),
        root_relative=score_errors(joint_errors_mm(rooted.predicted_mm, true, rooted.valid)),
        root_scale=score_errors(joint_errors_mm(scaled.predicted_mm, true, scaled.valid)),
        procrustes=score_errors(joint_errors_mm(fitted.predicted_mm, true, fitted.valid)),
        procrustes_proper=score_errors(joint_errors_mm(turned.predicted_mm, true, turned.valid)),
    )


def score_errors(errors_mm: NDArray[np.float64]) -> AlignmentScores:
    """Sum up errors [N, 21], NaN where a joint was not measured; raises HandsimError where none was."""
    measured = ~np.isnan(errors_mm)
    each_joint = mean_of_each_joint_mm(errors_mm).tolist()
    wide, narrow = pck_curve(errors_mm, PCK_0_50), pck_curve(errors_mm, PCK_20_50)
    return AlignmentScores(
        hands=int(measured.any(axis=1).sum()),
        joints=int(measured.sum()),
        mpjpe_mm=mpjpe_mm(errors_mm),
        median_mm=median_mm(errors_mm),
        auc_0_50=area_under_curve(wide, PCK_0_50),
        auc_20_50=area_under_curve(narrow, PCK_20_50),
        joint_mpjpe_mm=tuple(None if np.isnan(error) else error for error in each_joint),
        pck_0_50=tuple(wide.tolist()),
        pck_20_50=tuple(narrow.tolist()),
    )

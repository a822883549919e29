"""Laying predicted hands onto the true ones before their errors are measured.

Joints are checked once, by `compare_poses`; every function here takes and returns the `PoseComparison` that
it makes. Alignments are fitted on the valid joints alone and move all 21. A hand that has too few of them for
the fit is left out: its aligned joints are NaN, and none of them is valid any more.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES, REFERENCE_BONE, WRIST

Floats = NDArray[np.float64]

SHORTEST_MM: Final = 1e-3
"""Bones and hands shorter than this have no length to scale by."""
_FEWEST_JOINTS: Final = 3
"""Procrustes fits two points exactly whatever they are, which says nothing."""
_MEND_TRUTH: Final = "mend the annotation or mark its joints as not valid"


@dataclass(frozen=True, eq=False)
class PoseComparison:
    """Predicted and true joints of the same N hands, in one frame."""

    predicted_mm: Floats
    """[N, 21, 3] NaN for hands that could not be aligned."""
    true_mm: Floats
    """[N, 21, 3]."""
    valid: NDArray[np.bool_]
    """[N, 21] which joints may be measured; elsewhere anything may stand, NaN too."""


def compare_poses(predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_]) -> PoseComparison:
    """Check joints [N, 21, 3]; ``valid`` [N, 21] says which of them are annotated.

    Raises HandsimError for other shapes, for counts that do not match, and for joints that are not
    finite where they are valid, naming the sample by its number (from 0).
    """
    predicted, true = np.asarray(predicted_mm, np.float64), np.asarray(true_mm, np.float64)
    if predicted.ndim > 0 and true.ndim > 0 and len(predicted) != len(true):
        raise HandsimError(
            f"there are predictions for {len(predicted)} hands, but the truth has {len(true)}; "
            "predict every hand of the split once, in its order"
        )
    _check(predicted, valid, "predicted", "prediction", "predict again with a network that has not diverged")
    return PoseComparison(predicted, check_truth(true, valid), valid)


def check_truth(true_mm: ArrayLike, valid: NDArray[np.bool_]) -> Floats:
    """True joints as float64 [N, 21, 3]; raises HandsimError as `compare_poses` does."""
    true = np.asarray(true_mm, np.float64)
    _check(true, valid, "true", "truth", "mend the annotation or mark the joint as not valid")
    return true


def _check(joints: Floats, valid: NDArray[np.bool_], kind: str, noun: str, remedy: str) -> None:
    if joints.ndim != 3 or joints.shape[1:] != (JOINT_COUNT, 3):
        raise HandsimError(
            f"the {kind} joints have shape {joints.shape}; expected [N, {JOINT_COUNT}, 3] in millimetres"
        )
    if valid.shape != joints.shape[:2] or valid.dtype != np.bool_:
        raise HandsimError(
            f"valid has shape {valid.shape} and type {valid.dtype}; "
            f"expected bool [{len(joints)}, {JOINT_COUNT}], a mask for the {kind} joints"
        )
    broken = valid & ~np.isfinite(joints).all(axis=-1)
    if broken.any():
        sample, joint = np.argwhere(broken)[0].tolist()
        raise HandsimError(
            f"the {noun} of sample {sample} is {joints[sample, joint].tolist()} mm at {JOINT_NAMES[joint]} "
            f"({int(broken.any(axis=1).sum())} of {len(joints)} samples are not finite); {remedy}"
        )


def align_root(poses: PoseComparison) -> PoseComparison:
    """Move the predictions so that their wrist lies on the true one; hands without it are left out."""
    predicted, true = poses.predicted_mm, poses.true_mm
    return _moved(poses, predicted - predicted[:, [WRIST]] + true[:, [WRIST]], poses.valid[:, WRIST])


def align_root_and_scale(poses: PoseComparison) -> PoseComparison:
    """Root at the true root, and the bone from wrist to middle_mcp as long as the true one.

    SiMHand's and minimal-hand's evaluation (REFERENCE: ``pred_root_scale_aligned``). Hands without both
    ends of the bone are left out. A prediction with all joints at one point stays a point, at the true root.
    Raises HandsimError for a bone without length.
    """
    predicted, true, valid = poses.predicted_mm, poses.true_mm, poses.valid
    root, end = REFERENCE_BONE
    usable = valid[:, root] & valid[:, end]
    relative = predicted - predicted[:, [root]]
    true_bone = np.linalg.norm(true[:, end] - true[:, root], axis=-1)
    _refuse_short_bone(usable & (true_bone < SHORTEST_MM), "true", _MEND_TRUTH)
    predicted_bone = np.linalg.norm(relative[:, end], axis=-1)
    boneless = usable & (predicted_bone < SHORTEST_MM)
    point = boneless & (_reach(np.where(valid[..., None], relative, 0)) < SHORTEST_MM)
    _refuse_short_bone(boneless & ~point, "predicted", "predict again with the two joints apart")
    scale = np.divide(true_bone, predicted_bone, out=np.zeros(len(true)), where=usable & ~point)
    return _moved(poses, relative * scale[:, None, None] + true[:, [root]], usable)


def align_procrustes(poses: PoseComparison, *, proper: bool) -> PoseComparison:
    """The least-squares fit of translation, scale and rotation onto the true joints.

    Without ``proper`` the rotation may be a reflection, as in FreiHAND's official evaluation: a mirrored
    hand fits perfectly. With it, it may not (Umeyama, PAMI 1991). Hands with fewer than three valid joints
    are left out. A prediction with all joints at one point comes to lie at the mean of the true ones.
    Raises HandsimError for a true hand with all joints at one point.
    """
    predicted, true, valid = poses.predicted_mm, poses.true_mm, poses.valid
    usable = valid.sum(axis=1) >= _FEWEST_JOINTS
    flat = usable & (_reach(_from_mean(true, valid)) < SHORTEST_MM)
    if flat.any():
        sample = int(flat.argmax())
        raise HandsimError(
            f"all valid joints of the true hand of sample {sample} lie at one point; {_MEND_TRUTH}"
        )
    return _moved(poses, fit_procrustes(predicted, true, valid, proper=proper), usable)


def fit_procrustes(
    predicted: Floats, true: Floats, valid: NDArray[np.bool_], *, proper: bool = False
) -> Floats:
    """Points [N, P, 3] fitted onto the true ones as `align_procrustes` does, by the ``valid`` ones [N, P].

    They may be joints or the vertices of a mesh.
    """
    target, source = _from_mean(true, valid), _from_mean(predicted, valid)
    left, strength, right = np.linalg.svd(source.transpose(0, 2, 1) @ target)
    if proper:
        reflected = np.linalg.det(left @ right) < 0
        left[reflected, :, -1] *= -1
        strength[reflected, -1] *= -1
    spread = (source**2).sum(axis=(1, 2))
    extended = _reach(source) >= SHORTEST_MM
    scale = np.divide(strength.sum(axis=1), spread, out=np.zeros(len(true)), where=extended)
    moved = (predicted - _mean_of_valid(predicted, valid)) @ (left @ right) * scale[:, None, None]
    fitted: Floats = moved + _mean_of_valid(true, valid)
    return fitted


def _from_mean(points: Floats, valid: NDArray[np.bool_]) -> Floats:
    """[N, P, 3] from the mean of the valid ones; zero where not valid."""
    return np.where(valid[..., None], points - _mean_of_valid(points, valid), 0)


def _mean_of_valid(points: Floats, valid: NDArray[np.bool_]) -> Floats:
    """[N, 1, 3]; zero for hands without valid points."""
    counts = np.maximum(valid.sum(axis=1), 1)[:, None, None]
    mean: Floats = np.where(valid[..., None], points, 0).sum(axis=1, keepdims=True) / counts
    return mean


def _reach(vectors: Floats) -> Floats:
    """Length [N] of the longest of vectors [N, P, 3]."""
    reach: Floats = np.linalg.norm(vectors, axis=-1).max(axis=1)
    return reach


def _moved(poses: PoseComparison, predicted_mm: Floats, usable: NDArray[np.bool_]) -> PoseComparison:
    moved = np.where(usable[:, None, None], predicted_mm, np.nan)
    return PoseComparison(moved, poses.true_mm, poses.valid & usable[:, None])


def _refuse_short_bone(boneless: NDArray[np.bool_], kind: str, remedy: str) -> None:
    if boneless.any():
        root, end = (JOINT_NAMES[joint] for joint in REFERENCE_BONE)
        raise HandsimError(
            f"the {kind} bone from {root} to {end} of sample {int(boneless.argmax())} is shorter than "
            f"{SHORTEST_MM:g} mm, so its hand cannot be scaled by it; {remedy}"
        )

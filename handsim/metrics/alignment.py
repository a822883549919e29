"""Laying predicted hands onto the true ones before their errors are measured.

Every alignment is fitted on the valid joints alone and moves all 21. A hand that has too few of them for
the fit is left out: its aligned joints are NaN and none of them is valid any more.

Predicted and true joints, checked before anything is measured on them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES, REFERENCE_BONE, WRIST


def checked_joints(
    predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 [N, 21, 3]; ``valid`` [N, 21] says which joints were annotated.

    Raises HandsimError for other shapes, for counts that do not match, and for joints that are not
    finite where they are valid, naming the sample by its place (from 0). Elsewhere anything may stand.
    """
    predicted, true = np.asarray(predicted_mm, np.float64), np.asarray(true_mm, np.float64)
    if predicted.ndim > 0 and true.ndim > 0 and len(predicted) != len(true):
        raise HandsimError(
            f"there are predictions for {len(predicted)} hands, but the truth has {len(true)}; "
            "predict every hand of the split once, in its order"
        )
    _check_shapes(predicted, valid, "predicted")
    _check_finite(predicted, valid, "prediction", "predict again with a network that has not diverged")
    return predicted, checked_truth(true, valid)


def checked_truth(true_mm: ArrayLike, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Annotated joints alone as float64 [N, 21, 3]; raises HandsimError as `checked_joints` does."""
    true = np.asarray(true_mm, np.float64)
    _check_shapes(true, valid, "true")
    _check_finite(true, valid, "truth", "mend the annotation or mark the joint as not valid")
    return true


def _check_shapes(joints: NDArray[np.float64], valid: NDArray[np.bool_], kind: str) -> None:
    if joints.ndim != 3 or joints.shape[1:] != (JOINT_COUNT, 3):
        raise HandsimError(
            f"the {kind} joints have shape {joints.shape}; expected [N, {JOINT_COUNT}, 3] in millimetres"
        )
    if valid.shape != joints.shape[:2] or valid.dtype != np.bool_:
        raise HandsimError(
            f"valid has shape {valid.shape} and type {valid.dtype}; "
            f"expected bool [{len(joints)}, {JOINT_COUNT}], a mask for the {kind} joints"
        )


def _check_finite(joints: NDArray[np.float64], valid: NDArray[np.bool_], kind: str, remedy: str) -> None:
    broken = valid & ~np.isfinite(joints).all(axis=-1)
    if broken.any():
        sample, joint = np.argwhere(broken)[0].tolist()
        raise HandsimError(
            f"the {kind} of sample {sample} is {joints[sample, joint].tolist()} mm at {JOINT_NAMES[joint]} "
            f"({int(broken.any(axis=1).sum())} of {len(joints)} samples are not finite); {remedy}"
        )


SHORTEST_MM = 1e-3
"""Bones and hands shorter than this have no length to scale by."""

FEWEST_JOINTS = 3
"""Procrustes fits two points always, and says nothing."""


@dataclass(frozen=True, eq=False)
class AlignedHands:
    """Predictions in the frame of the truth."""

    predicted_mm: NDArray[np.float64]
    """[N, 21, 3] NaN for hands that could not be aligned."""
    valid: NDArray[np.bool_]
    """[N, 21] which joints may be measured: the annotated ones of the hands that could be aligned."""


def align_root(
    predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_], root: int = WRIST
) -> AlignedHands:
    """Move the predictions [N, 21, 3] so that their root lies on the true one (root-relative errors).

    Hands whose root is not valid are left out. Raises HandsimError as `checked_joints` does.
    """
    predicted, true = checked_joints(predicted_mm, true_mm, valid)
    return _aligned(predicted - predicted[:, [root]] + true[:, [root]], valid, valid[:, root])


def align_root_and_scale(
    predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_]
) -> AlignedHands:
    """Root at the true root, and the bone from wrist to middle_mcp as long as the true one.

    SiMHand's and minimal-hand's evaluation (REFERENCE: ``pred_root_scale_aligned``). Hands without both
    ends of the bone are left out. A prediction with all joints at one point stays a point, at the true root.
    Raises HandsimError as `checked_joints` does and for a bone without length.
    """
    predicted, true = checked_joints(predicted_mm, true_mm, valid)
    root, end = REFERENCE_BONE
    usable = valid[:, root] & valid[:, end]
    relative = predicted - predicted[:, [root]]
    true_bone = np.linalg.norm(true[:, end] - true[:, root], axis=-1)
    _refuse(usable & (true_bone < SHORTEST_MM), "true", "mend the annotation or mark its joints as not valid")
    distances = np.linalg.norm(relative, axis=-1)
    boneless = usable & (distances[:, end] < SHORTEST_MM)
    point = boneless & (_reach(np.where(valid[..., None], relative, 0)) < SHORTEST_MM)
    _refuse(boneless & ~point, "predicted", "predict again with the two joints apart")
    scale = np.divide(true_bone, distances[:, end], out=np.zeros(len(true)), where=usable & ~point)
    return _aligned(relative * scale[:, None, None] + true[:, [root]], valid, usable)


def align_procrustes(
    predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_], *, proper: bool
) -> AlignedHands:
    """The least-squares fit of translation, scale and rotation onto the true joints.

    Without ``proper`` the rotation may be a reflection, as in FreiHAND's official evaluation: a mirrored
    hand fits perfectly. With it, it may not (Umeyama, PAMI 1991). Hands with fewer than three valid joints
    are left out. A prediction with all joints at one point comes to lie at the mean of the true ones.
    Raises HandsimError as `checked_joints` does and for a true hand with all joints at one point.
    """
    predicted, true = checked_joints(predicted_mm, true_mm, valid)
    usable = valid.sum(axis=1) >= FEWEST_JOINTS
    true_mean, predicted_mean = _mean_of_valid(true, valid), _mean_of_valid(predicted, valid)
    to = np.where(valid[..., None], true - true_mean, 0)
    start = np.where(valid[..., None], predicted - predicted_mean, 0)
    flat = usable & (_reach(to) < SHORTEST_MM)
    if flat.any():
        raise HandsimError(
            f"all valid joints of the true hand of sample {int(flat.argmax())} lie at one point; "
            "mend the annotation or mark its joints as not valid"
        )
    left, strength, right = np.linalg.svd(start.transpose(0, 2, 1) @ to)
    if proper:
        reflected = np.linalg.det(left @ right) < 0
        left[reflected, :, -1] *= -1
        strength[reflected, -1] *= -1
    spread = (start**2).sum(axis=(1, 2))
    extended = _reach(start) >= SHORTEST_MM
    scale = np.divide(strength.sum(axis=1), spread, out=np.zeros(len(true)), where=extended)
    moved = (predicted - predicted_mean) @ (left @ right) * scale[:, None, None] + true_mean
    return _aligned(moved, valid, usable)


def _mean_of_valid(joints: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[N, 1, 3]; zero for hands without valid joints."""
    counts = np.maximum(valid.sum(axis=1), 1)[:, None, None]
    mean: NDArray[np.float64] = np.where(valid[..., None], joints, 0).sum(axis=1, keepdims=True) / counts
    return mean


def _reach(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length [N] of the longest of vectors [N, 21, 3]."""
    reach: NDArray[np.float64] = np.linalg.norm(vectors, axis=-1).max(axis=1)
    return reach


def _aligned(
    joints: NDArray[np.float64], valid: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> AlignedHands:
    return AlignedHands(
        predicted_mm=np.where(usable[:, None, None], joints, np.nan), valid=valid & usable[:, None]
    )


def _refuse(boneless: NDArray[np.bool_], kind: str, remedy: str) -> None:
    if boneless.any():
        root, end = (JOINT_NAMES[joint] for joint in REFERENCE_BONE)
        raise HandsimError(
            f"the {kind} bone from {root} to {end} of sample {int(boneless.argmax())} is shorter than "
            f"{SHORTEST_MM:g} mm, so its hand cannot be scaled by it; {remedy}"
        )

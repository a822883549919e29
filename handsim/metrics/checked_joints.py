"""Predicted and true joints, checked before anything is measured on them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES


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

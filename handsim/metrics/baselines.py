"""What a predictor that never looks at the picture scores: the floor that others are read against."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.metrics.checked_joints import checked_truth
from handsim.metrics.pose import PoseScores, score_poses
from handsim.skeleton import JOINT_NAMES, WRIST


def mean_pose_mm(joints_mm: ArrayLike, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean hand [21, 3] of joints [N, 21, 3] in the camera frame, at their mean wrist.

    Each joint is averaged relative to the wrist over the hands in which both are ``valid`` [N, 21]. Raises
    HandsimError for a joint that no hand has, and as `checked_truth` does.
    """
    joints = checked_truth(joints_mm, valid)
    usable = valid & valid[:, [WRIST]]
    counts = usable.sum(axis=0)
    if (counts == 0).any():
        raise HandsimError(
            f"no training hand has both {JOINT_NAMES[WRIST]} and {JOINT_NAMES[int((counts == 0).argmax())]} "
            "valid, so there is no mean pose; choose training hands that have every joint at least once"
        )
    relative = np.where(usable[..., None], joints - joints[:, [WRIST]], 0).sum(axis=0) / counts[:, None]
    wrist = joints[usable[:, WRIST], WRIST].mean(axis=0)
    mean: NDArray[np.float64] = relative + wrist
    return mean


def score_constant_pose(
    pose_mm: NDArray[np.float64], true_mm: ArrayLike, valid: NDArray[np.bool_]
) -> PoseScores:
    """The scores of predicting ``pose_mm`` [21, 3] for every one of the true hands [N, 21, 3].

    Of `mean_pose_mm` of the training hands: the mean-pose baseline. Of zeros: FreiHAND's all-zero
    prediction, which its page gives as 70.79 cm absolute and 4.73 cm aligned on the evaluation set.
    Raises HandsimError as `score_poses` does.
    """
    true = np.asarray(true_mm, np.float64)
    return score_poses(np.broadcast_to(pose_mm, (len(true), *pose_mm.shape)), true, valid)

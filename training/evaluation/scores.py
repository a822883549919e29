"""What is measured on a split's predictions, as plain numbers under plain names."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.metrics.alignment import align_root
from handsim.metrics.baselines import score_constant_pose
from handsim.metrics.joint_errors import joint_errors_mm, mean_of_each_hand_mm
from handsim.metrics.keypoint_errors import KeypointScores, score_keypoints
from handsim.metrics.pck import PCK_0_50, PCK_20_50
from handsim.metrics.pose import AlignmentScores, PoseScores, score_poses
from handsim.skeleton import JOINT_NAMES
from training.evaluation.hands import PredictedHands, TrueHands

ALIGNMENTS: Final = ("root_relative", "root_scale", "procrustes", "procrustes_proper", "absolute")
"""The fields of `PoseScores`, in the order in which they are told; the last needs hands in their camera."""
NUMBERS: Final = ("mpjpe_mm", "median_mm", "auc_0_50", "auc_20_50")
"""What is told of each."""


@dataclass(frozen=True)
class SplitScores:
    """The scores of one set of predictions of a split."""

    alignments: dict[str, AlignmentScores]
    """By their names in `ALIGNMENTS`; without ``absolute`` where hands were not placed in their camera."""
    keypoints: KeypointScores | None
    """Of the 2D joints; None for predictions that have none."""

    @property
    def metrics(self) -> dict[str, float]:
        """All but the curves and single joints: ``root_relative_mpjpe_mm``, ..., ``keypoints_2d_mean_px``."""
        numbers = {
            f"{name}_{number}": float(getattr(scores, number))
            for name, scores in self.alignments.items()
            for number in NUMBERS
        }
        if self.keypoints is not None:
            numbers["keypoints_2d_mean_px"] = self.keypoints.mean_px
            numbers["keypoints_2d_median_px"] = self.keypoints.median_px
        return numbers

    @property
    def measured(self) -> dict[str, dict[str, int]]:
        """How many hands, and joints of them, each alignment could be measured on."""
        return {
            name: {"hands": scores.hands, "joints": scores.joints} for name, scores in self.alignments.items()
        }

    @property
    def joints_mm(self) -> dict[str, dict[str, float | None]]:
        """Mean error of each joint by alignment and name; None for a joint that no hand has."""
        return {
            name: dict(zip(JOINT_NAMES, scores.joint_mpjpe_mm, strict=True))
            for name, scores in self.alignments.items()
        }

    @property
    def curves(self) -> dict[str, Any]:
        """The PCK curves by range and alignment, beside their thresholds."""
        return {
            f"pck_{name}": {
                "thresholds_mm": thresholds.thresholds_mm.round(6).tolist(),
                **{key: list(getattr(scores, f"pck_{name}")) for key, scores in self.alignments.items()},
            }
            for name, thresholds in (("0_50", PCK_0_50), ("20_50", PCK_20_50))
        }


def score_split(predicted: PredictedHands, true: TrueHands) -> SplitScores:
    """Measure predictions against the truth of the same hands in the same order.

    Raises HandsimError as `score_poses` does.
    """
    placed = predicted.camera_3d_mm is not None
    joints = predicted.joints_3d_mm if predicted.camera_3d_mm is None else predicted.camera_3d_mm
    scores = score_poses(joints, true.joints_3d_mm, true.valid)
    keypoints = score_keypoints(predicted.keypoints_2d_px, true.keypoints_2d_px, true.valid)
    return SplitScores(_by_name(scores, placed), keypoints)


def score_mean_pose(mean_pose_mm: NDArray[np.float64], true: TrueHands) -> SplitScores:
    """The scores of predicting one pose [21, 3], in mm in the camera frame, for every hand.

    Raises HandsimError as `score_poses` does.
    """
    return SplitScores(_by_name(score_constant_pose(mean_pose_mm, true.joints_3d_mm, true.valid), True), None)


def hand_errors_mm(predicted: PredictedHands, true: TrueHands) -> NDArray[np.float64]:
    """Mean root-relative error [N] of each hand, to rank hands by; NaN where it cannot be told."""
    aligned = align_root(predicted.joints_3d_mm, true.joints_3d_mm, true.valid)
    return mean_of_each_hand_mm(joint_errors_mm(aligned.predicted_mm, true.joints_3d_mm, aligned.valid))


def _by_name(scores: PoseScores, placed: bool) -> dict[str, AlignmentScores]:
    return {name: getattr(scores, name) for name in ALIGNMENTS if placed or name != "absolute"}

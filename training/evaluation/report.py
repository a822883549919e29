"""What came of an evaluation, and the files that keep it: ``pose.json`` and ``predictions.parquet``.

What is measured on a split's predictions, as plain numbers under plain names.

What each dataset's own evaluation reports, and which split is the training split of another.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.files import write_text_atomically
from handsim.metrics.alignment import align_root
from handsim.metrics.pose import (
    PCK_0_50,
    PCK_20_50,
    AlignmentScores,
    KeypointScores,
    PoseScores,
    joint_errors_mm,
    mean_of_each_hand_mm,
    score_constant_pose,
    score_keypoints,
    score_poses,
)
from handsim.skeleton import JOINT_NAMES
from training.datasets.record import HandDataset
from training.evaluation.predictions import PredictedHands, TrueHands, write_predictions

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


REPORT_FILE: Final = "pose.json"
PREDICTIONS_FILE: Final = "predictions.parquet"
FORMAT: Final = 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of one."""

    dataset: HandDataset
    """The split that was evaluated on."""
    predicted: PredictedHands
    """In the order of the split."""
    true: TrueHands
    """Of the same hands."""
    scores: SplitScores | None
    """None where no joint of the split is annotated."""
    mean_pose: SplitScores | None
    """What the mean pose of the training split scores; None where that split, or the truth, is not there."""
    settings: dict[str, Any]
    """What was asked for, as plain values."""
    facts: dict[str, Any]
    """Where the predictions and the mean pose come from, and how many hands there are, as plain values."""


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``predictions.parquet``, then ``pose.json``, into a run's folder, which is made.

    ``pose.json`` has ``settings`` and ``facts``, ``metrics`` and those of the ``mean_pose`` by flat names
    (empty where there is no truth, or no training split), then counts, single joints and curves by alignment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = {name: value for name, value in evaluation.facts.items() if name != "training"}
    write_predictions(folder / PREDICTIONS_FILE, evaluation.predicted, {**evaluation.settings, **told})
    scores, mean_pose = evaluation.scores, evaluation.mean_pose
    report: dict[str, Any] = {
        "format": FORMAT,
        "settings": evaluation.settings,
        "facts": evaluation.facts,
        "metrics": scores.metrics if scores else {},
        "mean_pose": mean_pose.metrics if mean_pose else {},
        "measured": scores.measured if scores else {},
        "joint_mpjpe_mm": scores.joints_mm if scores else {},
        "mean_pose_joint_mpjpe_mm": mean_pose.joints_mm if mean_pose else {},
        "curves": scores.curves if scores else {},
        "mean_pose_curves": mean_pose.curves if mean_pose else {},
    }
    write_text_atomically(folder / REPORT_FILE, json.dumps(report, indent=1) + "\n")


ALIGNMENT_TITLES: Final = {
    "root_relative": "root-relative",
    "root_scale": "root and scale aligned",
    "procrustes": "Procrustes",
    "procrustes_proper": "Procrustes, never mirrored",
    "absolute": "absolute, in the camera",
}
"""Alignment -> what it is called."""

OFFICIAL: Final = {
    "freihand": ("procrustes", "absolute"),
    "dexycb": ("absolute", "root_relative", "procrustes"),
    "assemblyhands": ("root_relative",),
    "synthetic": ("root_scale",),
}
"""Dataset -> the alignments (`training.evaluation.report`) that its papers give.

FreiHAND (arXiv 1909.04349): Procrustes with reflections allowed, MPJPE and AUC of 0-50 mm; its server also
tells the unaligned numbers. DexYCB (arXiv 2104.04631): absolute, root-relative, Procrustes, in mm, AUC of
0-50 mm; frames without a valid joint are none of its samples. AssemblyHands (arXiv 2304.12301):
wrist-relative MPJPE over valid joints. SiMHand (arXiv 2502.15251): root and scale aligned, on all of them;
our synthetic set follows it.
"""


def training_split(dataset: str, split: str) -> str:
    """The split that those who are judged by ``split`` train on: ``s0_test`` -> ``s0_train``.

    The mean-pose baseline is taken of it.
    """
    return f"{split.rsplit('_', 1)[0]}_train" if dataset == "dexycb" else "train"


def judged_split(dataset: str, trained_on: str) -> str:
    """The split that the dataset's papers report for those who train on the split ``trained_on``.

    Of AssemblyHands it is ``val``: the joints of its public test split are withheld.
    """
    if dataset == "dexycb":
        return f"{trained_on.rsplit('_', 1)[0]}_test"
    return {"freihand": "eval", "assemblyhands": "val"}.get(dataset, "test")

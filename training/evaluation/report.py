"""What came of an evaluation, and the files that keep it: ``pose.json`` and ``predictions.parquet``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from handsim.atomic_file import write_text_atomically
from training.datasets.record import HandDataset
from training.evaluation.hands import PredictedHands, TrueHands
from training.evaluation.predictions_file import write_predictions
from training.evaluation.scores import SplitScores

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

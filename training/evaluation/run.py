"""One evaluation from a split to ``pose.json`` and ``predictions.parquet``."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.atomic_file import write_text_atomically
from training.datasets.record import HandDataset
from training.evaluation.conventions import OFFICIAL
from training.evaluation.hands import PredictedHands, TrueHands
from training.evaluation.predictions_file import write_predictions
from training.evaluation.scores import SplitScores, score_mean_pose, score_split
from training.finetune.inference import Inference

REPORT_FILE: Final = "pose.json"
PREDICTIONS_FILE: Final = "predictions.parquet"
FORMAT: Final = 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of one."""

    predicted: PredictedHands
    """In the order of the split."""
    true: TrueHands
    """Of the same hands."""
    scores: SplitScores | None
    """None where no joint of the split is annotated."""
    mean_pose: SplitScores | None
    """What the mean pose of the training split scores; None where that split, or the truth, is not there."""

    @property
    def hands_with_truth(self) -> int:
        """Hands with any annotated joint."""
        return int(self.true.valid.any(axis=1).sum())


def evaluate_predictions(
    predicted: PredictedHands, true: TrueHands, mean_pose_mm: NDArray[np.float64] | None
) -> Evaluation:
    """Measure predictions, and beside them the mean pose [21, 3] of the training split.

    Raises HandsimError as `score_split` does, but for a split without truth.
    """
    if not true.valid.any():
        return Evaluation(predicted, true, None, None)
    baseline = None if mean_pose_mm is None else score_mean_pose(mean_pose_mm, true)
    return Evaluation(predicted, true, score_split(predicted, true), baseline)


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    dataset: HandDataset,
    *,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> None:
    """Write ``predictions.parquet``, then ``pose.json``, into a run's folder, which is made.

    ``settings`` are what was asked for, ``facts`` where the predictions come from: plain values both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        **facts,
        "hands": len(evaluation.predicted),
        "hands_with_truth": evaluation.hands_with_truth,
        "official": list(OFFICIAL.get(dataset.name, ())),
    }
    told = {"dataset": dataset.name, "split": dataset.split, **facts}
    write_predictions(folder / PREDICTIONS_FILE, evaluation.predicted, told)
    report: dict[str, Any] = {
        "format": FORMAT,
        "settings": {"dataset": dataset.name, "split": dataset.split, **settings},
        "facts": facts,
        "metrics": {},
        "mean_pose": {},
    }
    if evaluation.scores is not None:
        report["metrics"] = evaluation.scores.metrics
        report["joint_mpjpe_mm"] = evaluation.scores.joints_mm
        report.update(evaluation.scores.curves)
    if evaluation.mean_pose is not None:
        report["mean_pose"] = evaluation.mean_pose.metrics
        report["mean_pose_curves"] = evaluation.mean_pose.curves
    write_text_atomically(folder / REPORT_FILE, json.dumps(report, indent=1) + "\n")


def checkpoint_facts(inference: Inference, checkpoint: Path) -> dict[str, Any]:
    """Where an estimator comes from, as plain values."""
    told = {name: value for name, value in inference.facts.items() if name != "config"}
    return {
        "checkpoint": str(checkpoint.resolve()),
        "checkpoint_sha256": sha256_of(checkpoint),
        "init": told.get("init"),
        "head": inference.config.estimator.head,
        "training": told,
    }


def sha256_of(path: Path) -> str:
    """The checksum of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

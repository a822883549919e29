"""How good an estimator of hand poses is on a split of a labelled dataset, and the files that say so.

`training.evaluation.evaluate` does it. This package exports what needs no torch: scores and files.
"""

from training.evaluation.predictions import PredictedHands, TrueHands, read_predictions, write_predictions
from training.evaluation.report import (
    ALIGNMENT_TITLES,
    ALIGNMENTS,
    METRICS,
    OFFICIAL,
    PREDICTIONS_FILE,
    REPORT_FILE,
    Evaluation,
    Metric,
    SplitScores,
    find_metric,
    write_evaluation,
)

__all__ = [
    "ALIGNMENTS",
    "ALIGNMENT_TITLES",
    "METRICS",
    "OFFICIAL",
    "PREDICTIONS_FILE",
    "REPORT_FILE",
    "Evaluation",
    "Metric",
    "PredictedHands",
    "SplitScores",
    "TrueHands",
    "find_metric",
    "read_predictions",
    "write_evaluation",
    "write_predictions",
]

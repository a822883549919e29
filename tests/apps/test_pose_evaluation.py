"""What an evaluation says in the terminal."""

import re
from typing import Any

import numpy as np

from apps.cli.evaluate import format_pose_evaluation
from tests.training.evaluation.builders import random_predictions, random_truth
from tests.training.finetune.drawn_hands import DrawnHands
from training.evaluation.evaluate import evaluate_predictions
from training.evaluation.report import ALIGNMENT_TITLES

FACTS: dict[str, Any] = {
    "run": "first",
    "checkpoint": "/runs/first/checkpoints/best.ckpt",
    "init": "random weights",
    "hands": 6,
    "mean_pose": "of 8 hands of train",
}


def test_the_mean_pose_stands_beside_every_result() -> None:
    pose_mm = np.random.default_rng(3).normal(0, 40, (21, 3)) + np.array([0, 0, 600])
    evaluation = evaluate_predictions(
        DrawnHands(6, "test"), random_predictions(6), random_truth(6), pose_mm, {}, FACTS
    )
    assert evaluation.scores is not None
    assert evaluation.mean_pose is not None
    found, floor = evaluation.scores.metrics, evaluation.mean_pose.metrics
    lines = format_pose_evaluation(evaluation).splitlines()
    assert "mean pose: of 8 hands of train" in lines
    for name, title in ALIGNMENT_TITLES.items():
        (numbers,) = [
            row[1].split() for row in map(re.compile(f"{title}  +([0-9. ]+)").fullmatch, lines) if row
        ]
        told = ("mpjpe_mm", "median_mm", "auc_0_50", "auc_20_50")
        expected = [found[f"{name}_{number}"] for number in told]
        expected += [floor[f"{name}_{number}"] for number in ("mpjpe_mm", "auc_0_50")]
        assert numbers == [
            f"{number:.{digits}f}" for number, digits in zip(expected, (2, 2, 3, 3, 2, 3), strict=True)
        ], name

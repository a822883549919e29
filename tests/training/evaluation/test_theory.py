"""What a network that knows nothing scores, from its checkpoint to the report, is what can be worked out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handsim.synthetic import SyntheticConfig
from tests.training.untrained import small_config, untrained_checkpoint
from training.datasets.open_dataset import open_dataset
from training.datasets.synthetic import write_synthetic
from training.evaluation.evaluate import PoseRequest, evaluate_pose
from training.evaluation.report import Evaluation, write_evaluation
from training.models.estimator import EstimatorSettings, HeadName

Joints = NDArray[np.float64]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, SyntheticConfig(videos=20, hands_per_video=2, seed=5, size_px=64))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    return untrained_checkpoint(tmp_path_factory.mktemp("run") / "best.ckpt", small_config(root=root))


@pytest.fixture(scope="module")
def evaluation(checkpoint: Path) -> Evaluation:
    return evaluate_pose(PoseRequest(checkpoint))


def _hands(root: Path, split: str) -> list[Joints]:
    """Joints [21, 3] in the camera frame of each hand; all of a synthetic one are valid."""
    dataset = open_dataset("synthetic", root, split)
    labels = [dataset.label(row) for row in range(len(dataset))]
    assert all(label.valid.all() for label in labels)
    return [label.joints_3d_mm.astype(np.float64) for label in labels]


def _mean_error(predicted: list[Joints], true: list[Joints]) -> float:
    """Over hands and joints, one after the other; each hand has all of them, so the order does not matter."""
    errors = [
        float(np.sqrt(((said[joint] - truth[joint]) ** 2).sum()))
        for said, truth in zip(predicted, true, strict=True)
        for joint in range(21)
    ]
    return sum(errors) / len(errors)


def _from_wrist(hand: Joints) -> Joints:
    relative: Joints = hand - hand[0]
    return relative


def _scaled(hand: Joints, truth: Joints) -> Joints:
    """Relative to the wrist, with the truth's bone from wrist to middle knuckle."""
    return _from_wrist(hand) * float(np.linalg.norm(truth[9] - truth[0]) / np.linalg.norm(hand[9] - hand[0]))


def test_the_mean_pose_in_every_report_is_that_of_loops(
    evaluation: Evaluation, root: Path, tmp_path: Path
) -> None:
    trained_on, true = _hands(root, "train"), _hands(root, "test")
    mean, wrist = np.zeros((21, 3)), np.zeros(3)
    for hand in trained_on:
        mean += _from_wrist(hand) / len(trained_on)
        wrist += hand[0] / len(trained_on)
    expected = {
        "root_relative_mpjpe_mm": _mean_error([mean] * len(true), [*map(_from_wrist, true)]),
        "root_scale_mpjpe_mm": _mean_error(
            [_scaled(mean, truth) for truth in true], [*map(_from_wrist, true)]
        ),
        "absolute_mpjpe_mm": _mean_error([mean + wrist] * len(true), true),
    }
    write_evaluation(tmp_path, evaluation)
    report = json.loads((tmp_path / "pose.json").read_text())
    for name, error_mm in expected.items():
        assert report["mean_pose"][name] == pytest.approx(error_mm, rel=1e-5), name
    assert report["facts"]["mean_pose"] == f"of {len(trained_on)} hands of train"
    assert set(report["mean_pose"]) == {name for name in report["metrics"] if "keypoints" not in name}


@pytest.mark.parametrize(
    ("head", "last_layer"),
    [
        ("detnet", ("location.3.weight", "location.3.bias")),
        ("simple", ("output_weight", "output_bias")),
    ],
)
def test_joints_that_are_all_zero_score_the_distances_from_the_wrist(
    root: Path, tmp_path: Path, head: HeadName, last_layer: tuple[str, ...]
) -> None:
    """As FreiHAND's all-zero prediction does; the best fit of a point is the middle of the true joints."""
    config = replace(small_config(root=root), estimator=EstimatorSettings(head))
    path = untrained_checkpoint(tmp_path / "zero.ckpt", config)
    content = torch.load(path, weights_only=True)
    for name in last_layer:
        content["state_dict"][f"estimator.head.{name}"].zero_()
    torch.save(content, path)
    scores = evaluate_pose(PoseRequest(path)).scores
    assert scores is not None
    true = _hands(root, "test")
    nothing = [np.zeros((21, 3))] * len(true)
    from_wrist = _mean_error(nothing, [*map(_from_wrist, true)])
    from_middle = _mean_error(nothing, [hand - hand.mean(axis=0) for hand in true])
    assert scores.metrics["root_relative_mpjpe_mm"] == pytest.approx(from_wrist, rel=1e-5)
    assert scores.metrics["root_scale_mpjpe_mm"] == pytest.approx(from_wrist, rel=1e-5)
    assert scores.metrics["procrustes_mpjpe_mm"] == pytest.approx(from_middle, rel=1e-5)


def test_an_untrained_network_is_no_better_than_the_mean_pose(evaluation: Evaluation, root: Path) -> None:
    """Its last layer begins small: it scores what zeros do, give or take the little that it says."""
    assert evaluation.scores is not None
    assert evaluation.mean_pose is not None
    error_mm = evaluation.scores.metrics["root_relative_mpjpe_mm"]
    said = [joints.astype(np.float64) for joints in evaluation.predicted.joints_3d_mm]
    nothing = [np.zeros((21, 3))] * len(said)
    zeros_mm = _mean_error(nothing, [*map(_from_wrist, _hands(root, "test"))])
    said_mm = _mean_error(nothing, said)
    assert 0 < said_mm < 0.05 * zeros_mm
    assert abs(error_mm - zeros_mm) <= said_mm + 1e-3
    assert error_mm > evaluation.mean_pose.metrics["root_relative_mpjpe_mm"]

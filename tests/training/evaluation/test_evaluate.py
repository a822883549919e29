"""From a checkpoint to its scores, which for a network that learned nothing can be worked out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.synthetic import SyntheticConfig
from tests.training.builders import small_config, untrained_checkpoint
from tests.training.drawn_hands import DrawnHands
from training.datasets.layouts import write_freihand
from training.datasets.open_dataset import open_dataset
from training.datasets.record import HandLabel
from training.datasets.synthetic import write_synthetic
from training.evaluation.evaluate import (
    PoseRequest,
    evaluate_pose,
    evaluate_predictions,
    mean_pose_of,
    predict_split,
    read_true_hands,
)
from training.evaluation.predictions import write_predictions
from training.evaluation.report import Evaluation, write_evaluation
from training.finetune.predictor import Inference
from training.models.estimator import EstimatorSettings, HeadName

pytestmark = pytest.mark.slow

WORLD = SyntheticConfig(videos=12, hands_per_video=2, seed=5, size_px=64)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write_synthetic(root, WORLD)
    return root


@pytest.fixture(scope="module")
def freihand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("freihand")
    write_freihand(root, replace(WORLD, videos=3))
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> Path:
    path = tmp_path_factory.mktemp("home") / "runs" / "first" / "checkpoints" / "best.ckpt"
    return untrained_checkpoint(path, small_config(root=synthetic))


@pytest.fixture(scope="module")
def evaluation(checkpoint: Path) -> Evaluation:
    return evaluate_pose(PoseRequest(checkpoint))


def metrics_of(evaluation: Evaluation) -> dict[str, float]:
    assert evaluation.scores is not None
    return evaluation.scores.metrics


def test_dataset_and_split_default_to_those_of_the_training(
    evaluation: Evaluation, synthetic: Path, tmp_path: Path
) -> None:
    assert (evaluation.dataset.name, evaluation.dataset.split) == ("synthetic", "test")
    assert evaluation.settings == {"dataset": "synthetic", "split": "test", "root": str(synthetic)}
    metadata = evaluation.metadata
    assert (metadata["run"], metadata["hands"], metadata["hands_with_truth"]) == ("first", 4, 4)
    assert [metadata[key] for key in ("init", "head", "architecture")] == [
        "random weights",
        "detnet",
        "resnet18",
    ]
    assert len(metadata["checkpoint_sha256"]) == 64
    write_evaluation(tmp_path, evaluation)
    report = json.loads((tmp_path / "pose.json").read_text())
    assert report["settings"] == evaluation.settings
    assert report["facts"] == metadata
    assert report["metrics"] == metrics_of(evaluation)
    assert report["metrics"]["root_relative_mpjpe_mm"] > 0
    assert set(report["metrics"]) - set(report["mean_pose"]) == {
        "keypoints_2d_mean_px",
        "keypoints_2d_median_px",
    }


def test_written_predictions_score_the_same_numbers_again(
    checkpoint: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    write_evaluation(tmp_path, evaluation)
    again = evaluate_pose(PoseRequest(checkpoint, predictions=tmp_path / "predictions.parquet"))
    assert metrics_of(again) == pytest.approx(metrics_of(evaluation), rel=1e-5)
    assert again.settings["predictions"] == str(tmp_path / "predictions.parquet")


def test_predictions_of_another_checkpoint_or_split_are_refused(
    checkpoint: Path, evaluation: Evaluation, synthetic: Path, tmp_path: Path
) -> None:
    write_evaluation(tmp_path, evaluation)
    file = tmp_path / "predictions.parquet"
    other = untrained_checkpoint(tmp_path / "other.ckpt", small_config(root=synthetic), seed=1)
    with pytest.raises(HandsimError, match=r"predicted by another checkpoint .*; name that one"):
        evaluate_pose(PoseRequest(other, predictions=file))
    with pytest.raises(HandsimError, match="predictions for 4 hands and the split has 16; the first"):
        evaluate_pose(PoseRequest(checkpoint, split="train", predictions=file))


def test_freihand_without_truth_is_predicted_and_not_scored(
    checkpoint: Path, freihand: Path, tmp_path: Path
) -> None:
    blind = tmp_path / "blind"
    blind.mkdir()
    for name in ("evaluation", "evaluation_K.json"):
        (blind / name).symlink_to(freihand / name)
    request = PoseRequest(checkpoint, dataset="freihand", root=blind, pred_json=tmp_path / "pred.json")
    evaluation = evaluate_pose(request)
    assert evaluation.dataset.split == "eval"
    assert (evaluation.scores, evaluation.mean_pose) == (None, None)
    assert (evaluation.metadata["hands"], evaluation.metadata["hands_with_truth"]) == (2, 0)
    joints, _ = json.loads((tmp_path / "pred.json").read_text())
    assert evaluation.predicted.camera_3d_mm is not None
    np.testing.assert_allclose(joints, evaluation.predicted.camera_3d_mm / 1000, atol=1e-6)
    write_evaluation(tmp_path, evaluation)
    report = json.loads((tmp_path / "pose.json").read_text())
    assert (report["metrics"], report["mean_pose"], report["curves"]) == ({}, {}, {})


def test_without_a_training_split_only_the_mean_pose_is_missing(
    checkpoint: Path, freihand: Path, tmp_path: Path
) -> None:
    for name in ("evaluation", "evaluation_K.json", "evaluation_xyz.json"):
        (tmp_path / name).symlink_to(freihand / name)
    evaluation = evaluate_pose(PoseRequest(checkpoint, dataset="freihand", root=tmp_path))
    assert evaluation.scores is not None
    assert evaluation.mean_pose is None
    assert evaluation.metadata["mean_pose"].startswith("not known: ")
    assert "training" in evaluation.metadata["mean_pose"]


def test_bad_requests_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    for request, problem in (
        (PoseRequest(checkpoint, dataset="freihand"), "the folder of freihand is unknown.* give --root"),
        (PoseRequest(checkpoint, dataset="freihnd", root=tmp_path), "freihnd; did you mean freihand"),
        (PoseRequest(checkpoint, split="tst"), "no split tst; did you mean test"),
        (PoseRequest(checkpoint, root=tmp_path), "not a synthetic dataset"),
        (PoseRequest(checkpoint, pred_json=tmp_path / "p.json"), "this is test of synthetic"),
    ):
        with pytest.raises(HandsimError, match=problem):
            evaluate_pose(request)
    with pytest.raises(NotThereError, match=r"no checkpoint .*gone.ckpt"):
        evaluate_pose(PoseRequest(tmp_path / "gone.ckpt"))
    with pytest.raises(HandsimError, match="--batch-size is 0; it is at least 1"):
        PoseRequest(checkpoint, batch_size=0)
    with pytest.raises(HandsimError, match="--workers is -1; it is at least 0"):
        PoseRequest(checkpoint, workers=-1)


def test_a_file_of_another_tool_is_scored(checkpoint: Path, tmp_path: Path) -> None:
    """It names no checkpoint; here it predicts the truth, in another order."""
    evaluation = evaluate_pose(PoseRequest(checkpoint, split="train"))
    true = evaluation.true
    joints = true.joints_3d_mm - true.joints_3d_mm[:, :1]
    perfect = replace(
        evaluation.predicted, joints_3d_mm=joints, camera_3d_mm=None, keypoints_2d_px=true.keypoints_2d_px
    )
    write_predictions(tmp_path / "p.parquet", perfect.in_order_of(true.sample_ids[::-1], "it"), {})
    scored = evaluate_pose(PoseRequest(checkpoint, split="train", predictions=tmp_path / "p.parquet"))
    assert metrics_of(scored)["root_relative_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert metrics_of(scored)["keypoints_2d_mean_px"] == pytest.approx(0, abs=1e-3)


HANDS = 5


@pytest.fixture(scope="module")
def dataset() -> DrawnHands:
    """Hand 1 lacks two fingertips; hand 3 has no truth at all."""
    return DrawnHands(HANDS, "test", invalid={1: [4, 8], 3: list(range(21))})


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_batches_predict_what_each_hand_alone_does(
    untrained: Inference, dataset: DrawnHands, workers: int
) -> None:
    progress: list[tuple[int, int]] = []
    predicted, true = predict_split(
        untrained, dataset, batch_size=3, workers=workers, progress=lambda *done: progress.append(done)
    )
    assert progress == [(3, 5), (5, 5)]
    assert predicted.camera_3d_mm is not None
    for row in range(HANDS):
        hand = dataset[row]
        square = untrained.square(hand.keypoints_2d_px, hand.size_px, hand.valid)
        alone = untrained.predict([hand.image], square[None], hand.intrinsics[None])
        assert (predicted.sample_ids[row], predicted.sides[row]) == (hand.sample_id, hand.side)
        assert true.sample_ids[row] == hand.sample_id
        np.testing.assert_allclose(predicted.joints_3d_mm[row], alone.joints_3d_mm[0], atol=0.01)
        np.testing.assert_allclose(predicted.keypoints_2d_px[row], alone.keypoints_2d_px[0], atol=0.01)
        np.testing.assert_allclose(predicted.confidence[row], alone.confidence[0], atol=1e-4)
        assert alone.camera_3d_mm is not None
        np.testing.assert_allclose(predicted.camera_3d_mm[row], alone.camera_3d_mm[0], atol=1)


class _WithStrays(DrawnHands):
    """Hand 1 lies beside its picture, all but its wrist; of hand 2 nothing is annotated."""

    def label(self, index: int) -> HandLabel:
        label = super().label(index)
        if index == 1:
            label.keypoints_2d_px[1:] += 500
        return label


def test_hands_outside_of_their_pictures_are_counted_and_keep_their_place(untrained: Inference) -> None:
    strays = _WithStrays(4, "test", invalid={2: list(range(21))})
    predicted, true = predict_split(untrained, strays, batch_size=3)
    assert true.in_picture.tolist() == [True, False, True, True]
    assert read_true_hands(strays).in_picture.tolist() == true.in_picture.tolist()
    evaluation = evaluate_predictions(strays, predicted, true, None, {}, {})
    assert evaluation.scores is not None
    assert evaluation.scores.measured["root_relative"]["hands"] == 3


def test_predicting_collects_the_truth_of_the_labels(untrained: Inference, dataset: DrawnHands) -> None:
    _, collected = predict_split(untrained, dataset, batch_size=4)
    read = read_true_hands(dataset)
    assert collected.sample_ids == read.sample_ids
    np.testing.assert_array_equal(collected.valid, read.valid)
    assert collected.valid.sum() == 21 * (HANDS - 1) - 2
    np.testing.assert_array_equal(collected.joints_3d_mm[read.valid], read.joints_3d_mm[read.valid])
    np.testing.assert_allclose(
        collected.keypoints_2d_px[read.valid], read.keypoints_2d_px[read.valid], atol=1e-3
    )


def test_labels_are_read_in_the_order_of_rows() -> None:
    many = DrawnHands(150, "test")
    rows = np.random.default_rng(0).permutation(150)[:140]
    progress: list[tuple[int, int]] = []
    true = read_true_hands(many, rows, progress=lambda *done: progress.append(done))
    assert true.sample_ids == tuple(many.label(row).sample_id for row in rows.tolist())
    np.testing.assert_array_equal(true.joints_3d_mm[77], many.label(int(rows[77])).joints_3d_mm)
    assert progress == [(64, 140), (128, 140), (140, 140)]


def test_a_split_without_hands_is_refused(untrained: Inference) -> None:
    with pytest.raises(HandsimError, match="split test of drawn has no hand; choose another one"):
        predict_split(untrained, DrawnHands(0, "test"))
    with pytest.raises(HandsimError, match="split train of drawn has no hand"):
        mean_pose_of(DrawnHands(0))


Joints = NDArray[np.float64]
"""[N, 21, 3] in the camera frame, in mm."""


def _hands(synthetic: Path, split: str) -> Joints:
    """All joints of a synthetic hand are valid."""
    true = read_true_hands(open_dataset("synthetic", synthetic, split))
    assert true.valid.all()
    return true.joints_3d_mm.astype(np.float64)


def _from_wrist(hands: Joints) -> Joints:
    return np.subtract(hands, hands[:, :1])


def _mean_error(predicted: Joints | float, true: Joints) -> float:
    """Each hand has all joints, so the order of means does not matter."""
    return float(np.linalg.norm(np.subtract(predicted, true), axis=2).mean())


def test_the_mean_pose_in_every_report_is_that_of_the_training_split(
    evaluation: Evaluation, synthetic: Path, tmp_path: Path
) -> None:
    trained_on, true = _hands(synthetic, "train"), _hands(synthetic, "test")
    mean, wrist = _from_wrist(trained_on).mean(axis=0), trained_on[:, 0].mean(axis=0)
    scales = np.linalg.norm(true[:, 9] - true[:, 0], axis=1) / np.linalg.norm(mean[9])
    expected = {
        "root_relative_mpjpe_mm": _mean_error(mean, _from_wrist(true)),
        "root_scale_mpjpe_mm": _mean_error(scales[:, None, None] * mean, _from_wrist(true)),
        "absolute_mpjpe_mm": _mean_error(mean + wrist, true),
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
    synthetic: Path, tmp_path: Path, head: HeadName, last_layer: tuple[str, ...]
) -> None:
    """As FreiHAND's all-zero prediction does; the best fit of a point is the middle of the true joints."""
    config = replace(small_config(root=synthetic), estimator=EstimatorSettings(head))
    path = untrained_checkpoint(tmp_path / "zero.ckpt", config)
    content = torch.load(path, weights_only=True)
    for name in last_layer:
        content["state_dict"][f"estimator.head.{name}"].zero_()
    torch.save(content, path)
    metrics = metrics_of(evaluate_pose(PoseRequest(path)))
    true = _hands(synthetic, "test")
    from_wrist = _mean_error(0, _from_wrist(true))
    from_middle = _mean_error(true.mean(axis=1, keepdims=True), true)
    assert metrics["root_relative_mpjpe_mm"] == pytest.approx(from_wrist, rel=1e-5)
    assert metrics["root_scale_mpjpe_mm"] == pytest.approx(from_wrist, rel=1e-5)
    assert metrics["procrustes_mpjpe_mm"] == pytest.approx(from_middle, rel=1e-5)


def test_an_untrained_network_is_no_better_than_the_mean_pose(
    evaluation: Evaluation, synthetic: Path
) -> None:
    """Its last layer begins small: it scores what zeros do, give or take its small estimates."""
    assert evaluation.mean_pose is not None
    error_mm = metrics_of(evaluation)["root_relative_mpjpe_mm"]
    zeros_mm = _mean_error(0, _from_wrist(_hands(synthetic, "test")))
    estimate_mm = _mean_error(0, evaluation.predicted.joints_3d_mm.astype(np.float64))
    assert 0 < estimate_mm < 0.05 * zeros_mm
    assert abs(error_mm - zeros_mm) <= estimate_mm + 1e-3
    assert error_mm > evaluation.mean_pose.metrics["root_relative_mpjpe_mm"]

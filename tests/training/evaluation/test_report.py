"""Scores by flat names, against loops; and which split goes with which."""

from dataclasses import replace

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_NAMES
from tests.training.evaluation.builders import random_predictions, random_truth
from training.datasets.open_dataset import DATASETS, known_splits
from training.evaluation.predictions import PredictedHands, TrueHands
from training.evaluation.report import (
    ALIGNMENTS,
    NUMBERS,
    OFFICIAL,
    evaluation_split,
    hand_errors_mm,
    score_mean_pose,
    score_split,
    training_split,
)


def _slow_errors(predicted: PredictedHands, true: TrueHands) -> list[list[float]]:
    """Root-relative errors by joint, of the hands that have it."""
    by_joint: list[list[float]] = [[] for _ in range(21)]
    for hand in range(len(true)):
        for joint in range(21):
            if true.valid[hand, joint]:
                estimate = predicted.joints_3d_mm[hand, joint] - predicted.joints_3d_mm[hand, 0]
                truth = true.joints_3d_mm[hand, joint] - true.joints_3d_mm[hand, 0]
                by_joint[joint].append(float(np.sqrt(((estimate - truth) ** 2).sum())))
    return by_joint


def test_root_relative_errors_are_those_of_a_loop() -> None:
    predicted, true = random_predictions(12), random_truth(12)
    by_joint = _slow_errors(predicted, true)
    scores = score_split(predicted, true)
    means = [float(np.mean(errors)) for errors in by_joint]
    assert scores.metrics["root_relative_mpjpe_mm"] == pytest.approx(np.mean(means), rel=1e-5)
    medians = [float(np.median(errors)) for errors in by_joint]
    assert scores.metrics["root_relative_median_mm"] == pytest.approx(np.mean(medians), rel=1e-5)
    by_name = scores.joints_mm["root_relative"]
    assert list(by_name) == list(JOINT_NAMES)
    assert list(by_name.values()) == pytest.approx(means, rel=1e-5)


def test_2d_errors_are_those_of_a_loop() -> None:
    predicted, true = random_predictions(12), random_truth(12)
    means = [
        np.mean(
            [
                np.hypot(*(predicted.keypoints_2d_px[hand, joint] - true.keypoints_2d_px[hand, joint]))
                for hand in range(12)
                if true.valid[hand, joint]
            ]
        )
        for joint in range(21)
    ]
    assert score_split(predicted, true).metrics["keypoints_2d_mean_px"] == pytest.approx(np.mean(means))


def test_the_truth_itself_scores_zero_millimetres_and_an_area_of_one() -> None:
    true = random_truth(6)
    full = np.where(true.valid[..., None], true.joints_3d_mm, 0)
    predicted = replace(
        random_predictions(6),
        joints_3d_mm=full - full[:, :1],
        camera_3d_mm=full,
        keypoints_2d_px=np.where(true.valid[..., None], true.keypoints_2d_px, 0),
    )
    metrics = score_split(predicted, true).metrics
    assert set(metrics) == {f"{name}_{number}" for name in ALIGNMENTS for number in NUMBERS} | {
        "keypoints_2d_mean_px",
        "keypoints_2d_median_px",
    }
    for name, value in metrics.items():
        # Half a step of the curve: not all of a micrometre's error is within 0 mm.
        expected = pytest.approx(1, abs=0.5 / 99 + 1e-6) if "auc_0_50" in name else pytest.approx(1)
        assert value == (expected if "auc" in name else pytest.approx(0, abs=1e-3)), name


def test_predictions_outside_the_camera_frame_have_no_absolute_error() -> None:
    true = random_truth(4)
    in_camera, relative = (
        score_split(random_predictions(4, in_camera=known), true) for known in (True, False)
    )
    assert "absolute_mpjpe_mm" in in_camera.metrics
    assert "absolute_mpjpe_mm" not in relative.metrics
    assert "absolute" not in relative.joints_mm
    assert "absolute" not in relative.curves["pck_0_50"]
    for name, value in relative.metrics.items():
        assert in_camera.metrics[name] == pytest.approx(value, rel=1e-4)


def test_measured_hands_and_joints_are_counted() -> None:
    true = random_truth(4)
    true.valid[2, 9] = False  # so that its scale cannot be aligned
    measured = score_split(random_predictions(4), true).measured
    assert measured["root_relative"] == {"hands": 4, "joints": int(true.valid.sum())}
    assert measured["root_scale"] == {"hands": 3, "joints": int(true.valid[[0, 1, 3]].sum())}


def test_curves_stand_beside_their_thresholds() -> None:
    curves = score_split(random_predictions(4), random_truth(4)).curves
    assert {name: len(curve["thresholds_mm"]) for name, curve in curves.items()} == {
        "pck_0_50": 100,
        "pck_20_50": 15,
    }
    assert curves["pck_20_50"]["thresholds_mm"][0] == 20
    assert all(len(curve) == 15 for curve in curves["pck_20_50"].values())


def test_hands_are_ranked_by_their_own_mean_error() -> None:
    predicted, true = random_predictions(5), random_truth(5)
    errors = hand_errors_mm(predicted, true)
    for hand in range(5):
        one = TrueHands(("x",), true.joints_3d_mm[[hand]], true.keypoints_2d_px[[hand]], true.valid[[hand]])
        alone = replace(random_predictions(1), joints_3d_mm=predicted.joints_3d_mm[[hand]], camera_3d_mm=None)
        loops = [error for joint in _slow_errors(alone, one) for error in joint]
        assert errors[hand] == pytest.approx(np.mean(loops), rel=1e-5)


def test_a_constant_pose_scores_what_predicting_it_does() -> None:
    true = random_truth(7)
    pose = np.random.default_rng(3).normal(0, 40, (21, 3))
    constant = np.repeat(pose[None], 7, axis=0).astype(np.float32)
    predicted = replace(random_predictions(7), joints_3d_mm=constant - constant[:, :1], camera_3d_mm=constant)
    floor = score_mean_pose(pose, true)
    assert floor.keypoints is None
    for name, value in floor.metrics.items():
        assert score_split(predicted, true).metrics[name] == pytest.approx(value, rel=1e-4), name


def test_predictions_that_are_not_finite_are_refused() -> None:
    predicted = random_predictions(3)
    predicted.keypoints_2d_px[1, 0] = np.nan
    with pytest.raises(HandsimError, match=r"2D joints of sample 1 are not finite .* has not diverged"):
        score_split(predicted, random_truth(3))


@pytest.mark.parametrize(
    ("dataset", "train", "evaluated"),
    [
        ("freihand", "train", "eval"),
        ("freihand", "train_v0", "eval"),
        ("dexycb", "s0_train", "s0_test"),
        ("dexycb", "s3_train", "s3_test"),
        ("assemblyhands", "train", "val"),
        ("synthetic", "train", "test"),
    ],
)
def test_evaluation_splits_are_those_of_the_papers(dataset: str, train: str, evaluated: str) -> None:
    assert evaluation_split(dataset, train) == evaluated
    assert training_split(dataset, evaluated) in known_splits(dataset)


def test_every_dataset_has_its_convention() -> None:
    assert set(OFFICIAL) == set(DATASETS)
    for dataset in DATASETS:
        assert set(OFFICIAL[dataset]) <= set(ALIGNMENTS)
        for split in known_splits(dataset):
            assert training_split(dataset, split) in known_splits(dataset)
            assert evaluation_split(dataset, training_split(dataset, split)) in known_splits(dataset)

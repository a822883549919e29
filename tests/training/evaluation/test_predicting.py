"""A split's predictions are those of its hands, each asked for alone."""

import numpy as np
import pytest

from handsim.errors import HandsimError
from tests.training.finetune.drawn_hands import DrawnHands
from training.evaluation.evaluate import mean_pose_of, predict_split, read_true_hands
from training.finetune.predictor import Inference

HANDS = 7


@pytest.fixture(scope="module")
def dataset() -> DrawnHands:
    """Hand 1 lacks two fingertips; hand 3 has no truth at all."""
    return DrawnHands(HANDS, "test", invalid={1: [4, 8], 3: list(range(21))})


@pytest.mark.parametrize("workers", [0, 2])
def test_predictions_are_those_of_each_hand_alone(
    untrained: Inference, dataset: DrawnHands, workers: int
) -> None:
    told: list[tuple[int, int]] = []
    predicted, true = predict_split(
        untrained, dataset, batch_size=3, workers=workers, progress=lambda *done: told.append(done)
    )
    assert told == [(3, 7), (6, 7), (7, 7)]
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


def test_the_truth_that_comes_along_is_that_of_the_labels(untrained: Inference, dataset: DrawnHands) -> None:
    _, along = predict_split(untrained, dataset, batch_size=4)
    read = read_true_hands(dataset)
    assert along.sample_ids == read.sample_ids
    np.testing.assert_array_equal(along.valid, read.valid)
    assert along.valid.sum() == 21 * (HANDS - 1) - 2
    np.testing.assert_array_equal(along.joints_3d_mm[read.valid], read.joints_3d_mm[read.valid])
    np.testing.assert_allclose(along.keypoints_2d_px[read.valid], read.keypoints_2d_px[read.valid], atol=1e-3)


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_are_read_in_the_order_of_the_rows(dataset: DrawnHands, workers: int) -> None:
    many = DrawnHands(150, "test")
    rows = np.random.default_rng(0).permutation(150)[:140]
    told: list[tuple[int, int]] = []
    true = read_true_hands(many, rows, workers=workers, progress=lambda *done: told.append(done))
    assert true.sample_ids == tuple(many.label(row).sample_id for row in rows.tolist())
    np.testing.assert_array_equal(true.joints_3d_mm[77], many.label(int(rows[77])).joints_3d_mm)
    assert told == [(64, 140), (128, 140), (140, 140)]


def test_the_mean_pose_is_that_of_a_loop(dataset: DrawnHands) -> None:
    pose, hands = mean_pose_of(dataset)
    assert hands == HANDS
    labels = [dataset.label(row) for row in range(HANDS)]
    wrist = np.mean([label.joints_3d_mm[0] for label in labels if label.valid[0]], axis=0)
    for joint in range(21):
        relative = [
            label.joints_3d_mm[joint] - label.joints_3d_mm[0] for label in labels if label.valid[joint]
        ]
        np.testing.assert_allclose(pose[joint], wrist + np.mean(relative, axis=0), atol=1e-3)


def test_a_split_without_hands_is_told(untrained: Inference) -> None:
    with pytest.raises(HandsimError, match="split test of drawn has no hand; choose another one"):
        predict_split(untrained, DrawnHands(0, "test"))
    with pytest.raises(HandsimError, match="split train of drawn has no hand"):
        mean_pose_of(DrawnHands(0))

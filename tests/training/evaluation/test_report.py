"""Scores by flat names, against plain numpy; and files of predictions."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.skeleton import JOINT_NAMES
from tests.training.evaluation.builders import random_predictions, random_truth
from training.datasets.open_dataset import DATASETS, ONLY_IN_2D, known_splits
from training.evaluation.hand_errors import HandErrors, read_hand_errors, write_hand_errors
from training.evaluation.predictions import (
    PredictedHands,
    TrueHands,
    read_predictions,
    write_predictions,
)
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
from training.evaluation.submission import check_submittable, write_submission


def _errors(predicted: PredictedHands, true: TrueHands) -> NDArray[np.float64]:
    """Root-relative distances [N, 21]; NaN where the joint is not valid."""
    estimate, truth = (joints - joints[:, :1] for joints in (predicted.joints_3d_mm, true.joints_3d_mm))
    distances: NDArray[np.float64] = np.linalg.norm(estimate.astype(np.float64) - truth, axis=2)
    return distances


def test_root_relative_errors_are_means_and_medians_of_distances() -> None:
    predicted, true = random_predictions(12), random_truth(12)
    errors, scores = _errors(predicted, true), score_split(predicted, true)
    means, medians = np.nanmean(errors, axis=0), np.nanmedian(errors, axis=0)
    assert scores.metrics["root_relative_mpjpe_mm"] == pytest.approx(means.mean(), rel=1e-5)
    assert scores.metrics["root_relative_median_mm"] == pytest.approx(medians.mean(), rel=1e-5)
    by_name = scores.joints_mm["root_relative"]
    assert list(by_name) == list(JOINT_NAMES)
    assert list(by_name.values()) == pytest.approx(means, rel=1e-5)


def test_errors_of_hands_are_written_and_their_means_are_the_scores(tmp_path: Path) -> None:
    """Of every metric that is a mean over hands, person by person; a median has no such parts."""
    predicted, true = random_predictions(30), random_truth(30)
    scores = score_split(predicted, true)
    mean_pose = score_mean_pose(np.zeros((21, 3)), true)
    path = tmp_path / "hand_errors.parquet"
    write_hand_errors(path, HandErrors(true.sample_ids, true.subjects, scores.errors_mm, mean_pose.errors_mm))
    hands = read_hand_errors(path)
    assert (hands.sample_ids, hands.people) == (true.sample_ids, true.subjects)
    for name, value in scores.metrics.items():
        sums, floor = hands.sums(name), hands.sums(name, of_mean_pose=True)
        if "median" in name or "2d" in name:
            assert sums is None
            continue
        assert sums is not None
        assert sums.people == tuple(f"person {number}" for number in range(5))
        assert sums.mean == pytest.approx(value, rel=1e-6)
        assert floor is not None
        assert floor.mean == pytest.approx(mean_pose.metrics[name], rel=1e-6)


def test_a_damaged_file_of_errors_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "hand_errors.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(HandsimError, match=r"hand_errors\.parquet cannot be read"):
        read_hand_errors(path)
    pq.write_table(pa.table({"sample_id": ["a"]}), path)
    with pytest.raises(HandsimError, match=r"hand_errors\.parquet cannot be read"):
        read_hand_errors(path)


def test_2d_errors_are_distances_in_pixels() -> None:
    predicted, true = random_predictions(12), random_truth(12)
    apart = np.linalg.norm(predicted.keypoints_2d_px - true.keypoints_2d_px, axis=2)  # NaN where not valid
    mean = np.nanmean(apart, axis=0).mean()
    assert score_split(predicted, true).metrics["keypoints_2d_mean_px"] == pytest.approx(mean, rel=1e-5)


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
    wanted = np.nanmean(_errors(predicted, true), axis=1)
    np.testing.assert_allclose(hand_errors_mm(predicted, true), wanted, rtol=1e-5)


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
        ("ho3d", "train", "evaluation"),
        ("interhand", "train", "test"),
        ("synthetic", "train", "test"),
    ],
)
def test_evaluation_splits_are_those_of_the_papers(dataset: str, train: str, evaluated: str) -> None:
    assert evaluation_split(dataset, train) == evaluated
    assert training_split(dataset, evaluated) in known_splits(dataset)


def test_every_dataset_has_its_convention() -> None:
    assert set(OFFICIAL) == set(DATASETS) - set(ONLY_IN_2D)
    for dataset in OFFICIAL:
        assert set(OFFICIAL[dataset]) <= set(ALIGNMENTS)
        for split in known_splits(dataset):
            assert training_split(dataset, split) in known_splits(dataset)
            assert evaluation_split(dataset, training_split(dataset, split)) in known_splits(dataset)


ARRAYS = ("joints_3d_mm", "camera_3d_mm", "keypoints_2d_px", "confidence")


@pytest.mark.parametrize("in_camera", [True, False])
def test_written_predictions_are_read_bit_for_bit(tmp_path: Path, in_camera: bool) -> None:
    written = random_predictions(5, in_camera=in_camera)
    write_predictions(tmp_path / "p.parquet", written, {"split": "eval", "checkpoint_sha256": "ab"})
    read, metadata = read_predictions(tmp_path / "p.parquet")
    assert metadata == {"split": "eval", "checkpoint_sha256": "ab"}
    assert (read.sample_ids, read.sides) == (written.sample_ids, written.sides)
    for column in ARRAYS if in_camera else set(ARRAYS) - {"camera_3d_mm"}:
        np.testing.assert_array_equal(getattr(read, column), getattr(written, column), column)
    assert (read.camera_3d_mm is not None) == in_camera
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_any_tool_reads_the_columns(tmp_path: Path) -> None:
    written = random_predictions(3)
    write_predictions(tmp_path / "p.parquet", written, {})
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert list(rows[0]) == ["sample_id", "side", *ARRAYS]
    assert rows[1]["side"] == "right"
    assert rows[2]["joints_3d_mm"][3 * 7 + 2] == written.joints_3d_mm[2, 7, 2]  # z of joint 7
    assert rows[2]["keypoints_2d_px"][2 * 20 + 1] == written.keypoints_2d_px[2, 20, 1]


def _columns() -> dict[str, pa.Array]:
    mine = random_predictions(3)
    return {
        "sample_id": pa.array(mine.sample_ids),
        "side": pa.array(mine.sides),
        "joints_3d_mm": pa.array(mine.joints_3d_mm.reshape(3, 63).tolist()),
        "keypoints_2d_px": pa.array(mine.keypoints_2d_px.reshape(3, 42).tolist()),
        "confidence": pa.array(mine.confidence.tolist()),
    }


def test_the_file_of_another_tool_is_read(tmp_path: Path) -> None:
    """Plain lists of doubles, no camera, no metadata, columns in another order."""
    mine = random_predictions(3)
    pq.write_table(pa.table(dict(reversed(_columns().items()))), tmp_path / "theirs.parquet")
    read, metadata = read_predictions(tmp_path / "theirs.parquet")
    assert metadata == {}
    assert read.camera_3d_mm is None
    np.testing.assert_array_equal(read.joints_3d_mm, mine.joints_3d_mm)
    np.testing.assert_array_equal(read.confidence, mine.confidence)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"confidence": None}, "no column confidence; predictions have sample_id, side, joints_3d_mm"),
        ({"joints_3d_mm": [[1.0] * 48] * 3}, "joints_3d_mm of .* has a list of 48 numbers; each holds 63, 3"),
        ({"keypoints_2d_px": [[1.0] * 42] * 2 + [None]}, "has a list of no numbers; each holds 42"),
        ({"joints_3d_mm": [1.0, 2.0, 3.0]}, "is of type double; it holds lists of 63 floats"),
        ({"confidence": [["high"] * 21] * 3}, "it holds lists of 21 floats"),
        ({"side": ["left", "both", "right"]}, "has a side 'both'; it is left or right"),
    ],
)
def test_predictions_of_another_form_are_refused(
    tmp_path: Path, change: dict[str, list[object] | None], problem: str
) -> None:
    columns = _columns()
    for name, values in change.items():
        columns.pop(name)
        if values is not None:
            columns[name] = pa.array(values)
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(HandsimError, match=problem):
        read_predictions(tmp_path / "p.parquet")


def test_damaged_and_missing_predictions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, random_predictions(3), {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HandsimError, match=r"cannot be read as Parquet .*; predict again"):
        read_predictions(path)
    with pytest.raises(NotThereError, match=r"no predictions .*; leave --predictions out"):
        read_predictions(tmp_path / "other.parquet")


def test_a_submission_has_joints_in_metres_in_freihands_order_and_a_zero_mesh(tmp_path: Path) -> None:
    predicted = random_predictions(4)
    names = ("evaluation/00000002", "evaluation/00000000", "evaluation/00000003", "evaluation/00000001")
    write_submission(tmp_path / "pred.json", replace(predicted, sample_ids=names))
    content = json.loads((tmp_path / "pred.json").read_text())
    assert len(content) == 2
    joints, vertices = (np.array(part) for part in content)
    assert predicted.camera_3d_mm is not None
    np.testing.assert_allclose(joints, predicted.camera_3d_mm[[1, 3, 0, 2]] / 1000, atol=1e-6)
    assert vertices.shape == (4, 778, 3)
    assert not vertices.any()
    assert [path.name for path in tmp_path.iterdir()] == ["pred.json"]


def test_hands_without_camera_coordinates_cannot_be_submitted(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"takes joints in the camera frame .* relative to the wrist"):
        write_submission(tmp_path / "pred.json", random_predictions(2, in_camera=False))


def test_only_freihands_evaluation_split_can_be_submitted(tmp_path: Path) -> None:
    check_submittable("freihand", "eval", tmp_path / "pred.json")
    with pytest.raises(HandsimError, match="and its split eval; this is s0_test of dexycb; leave it out"):
        check_submittable("dexycb", "s0_test", tmp_path / "pred.json")
    with pytest.raises(HandsimError, match="this is val of freihand"):
        check_submittable("freihand", "val", tmp_path / "pred.json")
    with pytest.raises(HandsimError, match=r"there is no folder .*nowhere; make it first"):
        check_submittable("freihand", "eval", tmp_path / "nowhere" / "pred.json")


def _rows(hands: PredictedHands, rows: list[int]) -> PredictedHands:
    columns = {name: getattr(hands, name)[rows] for name in ARRAYS}
    sample_ids, sides = tuple(hands.sample_ids[row] for row in rows), tuple(hands.sides[row] for row in rows)
    return PredictedHands(sample_ids, sides, **columns)


def test_predictions_are_put_into_the_order_of_the_split() -> None:
    hands = random_predictions(5)
    sorted_again = _rows(hands, [3, 0, 4, 1, 2]).in_order_of(hands.sample_ids, "file")
    assert sorted_again.sample_ids == hands.sample_ids
    assert sorted_again.sides == hands.sides
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(sorted_again, name), getattr(hands, name))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([0, 1, 2], "p has predictions for 3 hands and the split has 4; the first one without is set/0003: "),
        ([0, 1, 1, 2, 3], "for 5 hands and the split has 4; set/0001 is there twice: predict the split"),
        ([0, 1, 2, 3, 4], "for 5 hands and the split has 4; set/0004 is none of its hands: .* --split"),
    ],
)
def test_missing_and_surplus_predictions_are_named(rows: list[int], problem: str) -> None:
    hands = random_predictions(5)
    with pytest.raises(HandsimError, match=problem):
        _rows(hands, rows).in_order_of(hands.sample_ids[:4], "p")


def test_predictions_of_another_split_are_refused() -> None:
    hands = random_predictions(2)
    others = replace(hands, sample_ids=("set/0000", "val/0001"))
    with pytest.raises(HandsimError, match=r"2 hands and the split has 2; the first one without is set/0001"):
        others.in_order_of(hands.sample_ids, "p")

"""Files of predictions: Parquet, and FreiHAND's pred.json."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handsim.errors import HandsimError, NotThereError
from tests.training.evaluation.builders import random_predictions
from training.evaluation.predictions import (
    check_submittable,
    read_predictions,
    write_predictions,
    write_submission,
)


@pytest.mark.parametrize("in_camera", [True, False])
def test_written_predictions_are_read_bit_for_bit(tmp_path: Path, in_camera: bool) -> None:
    written = random_predictions(5, in_camera=in_camera)
    write_predictions(tmp_path / "p.parquet", written, {"split": "eval", "checkpoint_sha256": "ab"})
    read, metadata = read_predictions(tmp_path / "p.parquet")
    assert metadata == {"split": "eval", "checkpoint_sha256": "ab"}
    assert (read.sample_ids, read.sides) == (written.sample_ids, written.sides)
    np.testing.assert_array_equal(read.joints_3d_mm, written.joints_3d_mm)
    np.testing.assert_array_equal(read.keypoints_2d_px, written.keypoints_2d_px)
    np.testing.assert_array_equal(read.confidence, written.confidence)
    if in_camera:
        assert read.camera_3d_mm is not None
        np.testing.assert_array_equal(read.camera_3d_mm, written.camera_3d_mm)
    else:
        assert read.camera_3d_mm is None
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_any_tool_reads_the_columns(tmp_path: Path) -> None:
    written = random_predictions(3)
    write_predictions(tmp_path / "p.parquet", written, {})
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert list(rows[0]) == [
        "sample_id",
        "side",
        "joints_3d_mm",
        "camera_3d_mm",
        "keypoints_2d_px",
        "confidence",
    ]
    assert rows[1]["side"] == "right"
    assert rows[2]["joints_3d_mm"][3 * 7 + 2] == written.joints_3d_mm[2, 7, 2]  # z of joint 7
    assert rows[2]["keypoints_2d_px"][2 * 20 + 1] == written.keypoints_2d_px[2, 20, 1]


def test_the_file_of_another_tool_is_read(tmp_path: Path) -> None:
    """Plain lists of doubles, no camera, no metadata, columns in another order."""
    mine = random_predictions(4)
    table = pa.table(
        {
            "confidence": pa.array(mine.confidence.astype(float).tolist()),
            "keypoints_2d_px": pa.array(mine.keypoints_2d_px.reshape(4, 42).astype(float).tolist()),
            "joints_3d_mm": pa.array(mine.joints_3d_mm.reshape(4, 63).astype(float).tolist()),
            "side": pa.array(mine.sides),
            "sample_id": pa.array(mine.sample_ids),
        }
    )
    pq.write_table(table, tmp_path / "theirs.parquet")
    read, metadata = read_predictions(tmp_path / "theirs.parquet")
    assert metadata == {}
    assert read.camera_3d_mm is None
    np.testing.assert_array_equal(read.joints_3d_mm, mine.joints_3d_mm)
    np.testing.assert_array_equal(read.confidence, mine.confidence)


def _columns() -> dict[str, pa.Array]:
    mine = random_predictions(3)
    return {
        "sample_id": pa.array(mine.sample_ids),
        "side": pa.array(mine.sides),
        "joints_3d_mm": pa.array(mine.joints_3d_mm.reshape(3, 63).tolist()),
        "keypoints_2d_px": pa.array(mine.keypoints_2d_px.reshape(3, 42).tolist()),
        "confidence": pa.array(mine.confidence.tolist()),
    }


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
def test_files_of_other_contents_are_refused(
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


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
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

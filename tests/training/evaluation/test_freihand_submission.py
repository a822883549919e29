"""What FreiHAND's server gets."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError
from tests.training.evaluation.some_hands import some_predictions
from training.evaluation.predictions import check_submittable, write_submission


def test_joints_are_in_metres_in_the_order_of_the_pictures_and_the_mesh_is_zero(tmp_path: Path) -> None:
    predicted = some_predictions(4)
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


def test_hands_without_a_place_cannot_be_submitted(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"takes joints in the camera frame .* relative to the wrist"):
        write_submission(tmp_path / "pred.json", some_predictions(2, placed=False))


def test_only_the_evaluation_split_of_freihand_is_taken(tmp_path: Path) -> None:
    check_submittable("freihand", "eval", tmp_path / "pred.json")
    with pytest.raises(HandsimError, match="of its split eval; this is s0_test of dexycb; leave it out"):
        check_submittable("dexycb", "s0_test", tmp_path / "pred.json")
    with pytest.raises(HandsimError, match="this is val of freihand"):
        check_submittable("freihand", "val", tmp_path / "pred.json")
    with pytest.raises(HandsimError, match=r"there is no folder .*nowhere; make it first"):
        check_submittable("freihand", "eval", tmp_path / "nowhere" / "pred.json")

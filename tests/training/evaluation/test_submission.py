"""``pred.json`` of any method, read and scored with its meshes; what is missing is said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.synthetic import SyntheticConfig
from tests.training.datasets.builders import listed
from tests.training.evaluation.builders import random_predictions
from training.datasets.bad_list import write_bad_list
from training.datasets.freihand import FreiHAND
from training.datasets.layouts import write_freihand
from training.evaluation.evaluate import PoseRequest, evaluate_pose
from training.evaluation.submission import read_submission, write_submission

HANDS, VERTICES = 4, 30
Points = NDArray[np.float64]


@pytest.fixture(scope="module")
def freihand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With 4 hands for evaluation, and meshes of 30 vertices around the middles of the hands."""
    root = tmp_path_factory.mktemp("freihand")
    write_freihand(root, SyntheticConfig(videos=6, hands_per_video=2, seed=5, size_px=64))
    (root / "evaluation_verts.json").write_text(json.dumps(true_meshes(root).tolist()))
    return root


def true_joints(root: Path) -> Points:
    """[4, 21, 3] in metres."""
    return np.array(json.loads((root / "evaluation_xyz.json").read_text()))


def true_meshes(root: Path) -> Points:
    """[4, 30, 3] in metres."""
    around = np.random.default_rng(1).normal(0, 0.03, (HANDS, VERTICES, 3))
    meshes: Points = true_joints(root).mean(axis=1, keepdims=True) + around
    return meshes


def write(path: Path, *parts: Points) -> Path:
    path.write_text(json.dumps([part.tolist() for part in parts]))
    return path


def score(root: Path, path: Path, skip_bad: Path | None = None) -> tuple[dict[str, float], str | None]:
    """Metrics, and why there are none of meshes."""
    request = PoseRequest(None, "freihand", root, predictions=path, skip_bad=skip_bad)
    evaluation = evaluate_pose(request)
    assert evaluation.scores is not None
    return evaluation.scores.metrics, evaluation.metadata["mesh"]


def test_joints_and_meshes_are_scored_without_an_estimator(freihand: Path, tmp_path: Path) -> None:
    moved = [0.006, 0, 0]
    path = write(tmp_path / "pred.json", true_joints(freihand) + moved, true_meshes(freihand) + moved)
    metrics, missing = score(freihand, path)
    assert missing is None
    for name in ("absolute_mpjpe_mm", "mesh_absolute_mpvpe_mm"):
        assert metrics[name] == pytest.approx(6, abs=1e-3)
    for name in ("root_relative_mpjpe_mm", "mesh_procrustes_mpvpe_mm"):
        assert metrics[name] == pytest.approx(0, abs=1e-3)
    assert metrics["mesh_absolute_f_5"] < 1
    assert [metrics[f"mesh_{name}"] for name in ("absolute_f_15", "procrustes_f_5")] == [1, 1]
    assert metrics["keypoints_2d_mean_px"] > 1


def test_hands_keep_their_meshes_where_some_are_left_out(freihand: Path, tmp_path: Path) -> None:
    """The mesh of the first hand is far off, and a list names that hand."""
    meshes = true_meshes(freihand)
    meshes[0] += 0.1
    path = write(tmp_path / "pred.json", true_joints(freihand), meshes)
    write_bad_list(tmp_path / "bad.json", "freihand", [listed(FreiHAND(freihand, "eval"), 0)])
    assert score(freihand, path)[0]["mesh_absolute_mpvpe_mm"] > 40
    assert score(freihand, path, tmp_path / "bad.json")[0]["mesh_absolute_mpvpe_mm"] < 1e-3


def test_joints_relative_to_the_wrist_have_no_2d_error(freihand: Path, tmp_path: Path) -> None:
    joints = true_joints(freihand)
    path = write(tmp_path / "pred.json", joints - joints[:, :1], np.zeros((HANDS, 778, 3)))
    metrics, missing = score(freihand, path)
    assert metrics["procrustes_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert not any(name.startswith(("keypoints", "mesh")) for name in metrics)
    assert missing is not None
    assert "pred.json with MANO's 778 vertices of each hand" in missing


def test_what_is_missing_for_meshes_is_said(freihand: Path, tmp_path: Path) -> None:
    joints, meshes = true_joints(freihand), true_meshes(freihand)
    metrics, missing = score(freihand, write(tmp_path / "other.json", joints, meshes[:, :20]))
    assert missing == "predicted meshes have 20 vertices and the true ones 30; predict MANO's"
    assert "procrustes_mpjpe_mm" in metrics
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("training", "evaluation", "training_K.json", "training_xyz.json"):
        (bare / name).symlink_to(freihand / name)
    (bare / "evaluation_K.json").symlink_to(freihand / "evaluation_K.json")
    beside = tmp_path / "bare_eval"
    beside.mkdir()
    (beside / "evaluation_xyz.json").symlink_to(freihand / "evaluation_xyz.json")
    path = write(tmp_path / "pred.json", joints, meshes)
    expected = "evaluation_verts.json, of FreiHAND_pub_v2_eval.zip, is missing; put it beside"
    assert expected in str(score(bare, path)[1])
    (beside / "evaluation_verts.json").symlink_to(freihand / "evaluation_verts.json")
    assert score(bare, path)[1] is None


def test_meshes_of_training_hands_are_those_of_all_four_versions(freihand: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("training", "training_K.json", "training_xyz.json"):
        (root / name).symlink_to(freihand / name)
    split = FreiHAND(root, "train")
    hands = len(json.loads((root / "training_K.json").read_text()))
    meshes = np.arange(hands)[:, None, None] * 0.001 + np.zeros((hands, 5, 3))
    (root / "training_verts.json").write_text(json.dumps(meshes.tolist()))
    labels = [split.label(row) for row in range(len(split))]
    read = split.read_vertices_mm([label.sample_id for label in labels])
    numbers = [int(label.subject.rsplit("/", 1)[1]) for label in labels]
    np.testing.assert_allclose(read[:, 0, 0], numbers, atol=1e-4)
    (root / "training_verts.json").write_text(json.dumps(meshes[1:].tolist()))
    with pytest.raises(HandsimError, match=rf"has {hands - 1} meshes and training_K.json {hands} hands"):
        split.read_vertices_mm([labels[0].sample_id])


def test_a_written_submission_is_read_again_with_its_meshes(freihand: Path, tmp_path: Path) -> None:
    names = tuple(f"evaluation/{number:08d}" for number in (2, 0, 3, 1))
    meshes = np.random.default_rng(0).normal(0, 50, (HANDS, VERTICES, 3)).astype(np.float32)
    written = replace(random_predictions(HANDS), sample_ids=names, vertices_mm=meshes)
    write_submission(tmp_path / "pred.json", written)
    read = read_submission(tmp_path / "pred.json", FreiHAND(freihand, "eval")).in_order_of(names, "it")
    assert written.camera_3d_mm is not None
    assert read.camera_3d_mm is not None
    assert read.vertices_mm is not None
    np.testing.assert_allclose(read.camera_3d_mm, written.camera_3d_mm, atol=1e-3)
    np.testing.assert_allclose(read.vertices_mm, meshes, atol=1e-3)


def test_other_files_are_refused(freihand: Path, tmp_path: Path) -> None:
    joints, meshes = true_joints(freihand), true_meshes(freihand)
    path, split = tmp_path / "pred.json", FreiHAND(freihand, "eval")
    for parts, problem in (
        ((joints[:3], meshes[:3]), r"has 21 joints of 3 hands; pred.json is \[joints, vertices\] of the 4"),
        ((joints[:, :20], meshes), "has 21 joints of 0 hands"),
        ((joints, meshes[:2]), "has vertices of 2 hands"),
        (tuple(joints), r"entry 0 has \[3\] numbers"),
        ((), "has 21 joints of 0 hands"),
    ):
        with pytest.raises(HandsimError, match=problem):
            read_submission(write(path, *parts), split)
    for text in ("", "[[[[0.1, NaN", '{"a": 1}', "[[[[0.1, null, 2]]]]"):
        path.write_text(text)
        with pytest.raises(HandsimError, match=r"pred\.json "):
            read_submission(path, split)
    with pytest.raises(HandsimError, match="there are no predictions"):
        read_submission(tmp_path / "gone.json", split)
    for request, problem in (
        ({"predictions": None}, "name an estimator, a run or a checkpoint, or give a file"),
        ({"predictions": path, "dataset": "freihand"}, "give --dataset NAME and --root FOLDER"),
    ):
        with pytest.raises(HandsimError, match=problem):
            PoseRequest(None, **request)

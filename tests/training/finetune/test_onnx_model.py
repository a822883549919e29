"""Estimators in ONNX files: what their metadata say is done, and torch is not needed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import crop_affine, cut_crop
from handsim.skeleton import JOINT_NAMES
from tests.apps.commands import run_python
from tests.handsim.detection.networks import write_network
from training.finetune.onnx_model import METADATA_KEY, OnnxPoseModel, OnnxRecord

SIZE_PX = 16
RECORD = OnnxRecord(
    kind="estimator",
    architecture="none",
    size_px=SIZE_PX,
    crop_factor=1.5,
    inputs={"images": "crops"},
    outputs={},
    source="a test",
    mean_bone_mm=100.0,
    joints=JOINT_NAMES,
)
WEIGHTS = np.random.default_rng(0).normal(size=(3, 126)).astype(np.float32)
"""From a crop's mean colour to keypoints, joints in mm and confidences."""


def write_estimator(path: Path, record: OnnxRecord | None = RECORD) -> Path:
    """A network whose answers are products of the crop's mean colour; with K, the joints are its numbers."""
    inputs = f"float[N, 3, {SIZE_PX}, {SIZE_PX}] images"
    joints = "joints_mm = Reshape (joints, three)"
    if record is not None and "intrinsics" in record.inputs:
        inputs += ", float[N, 3, 3] intrinsics"
        joints = "flat = Reshape (joints, three)\n joints_mm = MatMul (flat, intrinsics)"
    nodes = f"""
        colour = ReduceMean <axes = [2, 3], keepdims = 0> (images)
        all = MatMul (colour, weights)
        flat_points, joints, confidence = Split <axis = 1> (all, parts)
        keypoints = Reshape (flat_points, two)
        {joints}
    """
    constants: dict[str, ArrayLike] = {
        "weights": WEIGHTS,
        "parts": np.array([42, 63, 21]),
        "two": np.array([-1, 21, 2]),
        "three": np.array([-1, 21, 3]),
    }
    outputs = "float[N, 21, 2] keypoints, float[N, 21, 3] joints_mm, float[N, 21] confidence"
    write_network(path, inputs, outputs, nodes, constants)
    if record is not None:
        network = onnx.load(path)
        onnx.helper.set_model_props(network, {METADATA_KEY: record.to_json()})
        onnx.save(network, path)
    return path


def noise(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def test_hands_are_cut_out_and_placed_as_the_record_says(tmp_path: Path) -> None:
    model = OnnxPoseModel(write_estimator(tmp_path / "m.onnx"))
    assert (model.crop.factor, model.crop.size_px, model.needs_camera) == (1.5, SIZE_PX, False)
    assert model.record == RECORD
    images = [noise(seed) for seed in range(5)]
    squares = np.array([[seed, 2.0, seed + 20, 22.0] for seed in range(5)])
    found = model.predict(images, squares, batch_size=2)
    assert found.camera_3d_mm is None
    for row, (image, square) in enumerate(zip(images, squares, strict=True)):
        colour = cut_crop(image, square, SIZE_PX).mean((0, 1)) / 255
        expected = (colour @ WEIGHTS).astype(np.float32)
        points = square[:2] + expected[:42].reshape(21, 2) * 20
        np.testing.assert_allclose(found.keypoints_2d_px[row], points, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.joints_3d_mm[row], expected[42:105].reshape(21, 3), atol=1e-5)
        np.testing.assert_allclose(found.confidence[row], expected[105:], atol=1e-5)


def test_k_is_that_of_the_crop_and_is_needed_where_it_is_an_input(tmp_path: Path) -> None:
    record = replace(RECORD, inputs={"images": "crops", "intrinsics": "K"})
    model = OnnxPoseModel(write_estimator(tmp_path / "m.onnx", record))
    assert model.needs_camera
    square = np.array([[5.0, 2.0, 25.0, 22.0]])
    with pytest.raises(HandsimError, match=r"needs the camera's K for a pose, and none is given; give it$"):
        model.predict([noise(0)], square)
    k = np.array([[90.0, 0, 25], [0, 90, 20], [0, 0, 1]])
    found = model.predict([noise(0)], square, k[None])
    colour = cut_crop(noise(0), square[0], SIZE_PX).mean((0, 1)) / 255
    in_crop = np.vstack([crop_affine(square[0], size=1.0), [0, 0, 1]]) @ k
    expected = (colour @ WEIGHTS)[42:105].reshape(21, 3) @ in_crop
    np.testing.assert_allclose(found.joints_3d_mm[0], expected, rtol=1e-4, atol=1e-3)
    assert found.camera_3d_mm is not None


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    later = json.dumps({**json.loads(RECORD.to_json()), "format": 2})
    plain = onnx.load(write_estimator(tmp_path / "plain.onnx", None))
    for name, metadata in (("later", later), ("damaged", "{"), ("odd", "[1]"), ("bare", '{"format": 1}')):
        onnx.helper.set_model_props(plain, {METADATA_KEY: metadata})
        onnx.save(plain, tmp_path / f"{name}.onnx")
    write_estimator(tmp_path / "encoder.onnx", replace(RECORD, kind="encoder"))
    (tmp_path / "text.onnx").write_text("no network")
    for name, message in (
        ("plain", "does not say how it is used"),
        ("later", "has format 2, this handsim reads up to 1; upgrade it"),
        ("damaged", "are damaged"),
        ("odd", "are damaged"),
        ("bare", "are damaged"),
        ("encoder", "is an encoder, which gives features and no poses; export a run of `handsim finetune`"),
        ("text", "cannot read the network"),
    ):
        with pytest.raises(HandsimError, match=rf"^[^\n]*{name}\.onnx[^\n]*$") as refused:
            OnnxPoseModel(tmp_path / f"{name}.onnx")
        assert message in str(refused.value)
    with pytest.raises(NotThereError, match=r"there is no file .*nothing\.onnx; give one"):
        OnnxPoseModel(tmp_path / "nothing.onnx")


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails
from apps.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_predict_runs_from_it_without_torch(tmp_path: Path) -> None:
    write_estimator(tmp_path / "m.onnx")
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    words = ["predict", str(tmp_path / "a.png"), "--model", str(tmp_path / "m.onnx"), "--whole", "--json"]
    [answer] = json.loads(run_python(WITHOUT_TORCH, *words, "--home", str(tmp_path)))
    [hand] = answer["hands"]
    assert hand["square_px"] == [0, -5, 50, 45]
    assert np.array(hand["joints_3d_mm"]).shape == (21, 3)

"""Exported networks are computed by ONNX Runtime as by torch, for any number of images."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from handsim.detection.onnx import open_session
from handsim.errors import HandsimError
from tests.apps.commands import Capture, run_json, run_ok
from tests.training.builders import SIZE_PX, small_config, untrained_checkpoint
from tests.training.drawn_hands import DrawnHands
from training.finetune.onnx_model import METADATA_KEY, OnnxPoseModel
from training.finetune.predictor import load_estimator
from training.models.encoder import Encoder
from training.models.estimator import EstimatorSettings, HeadName
from training.onnx_export import export_estimator, export_onnx

pytest.importorskip("onnxscript", reason="torch writes ONNX files by onnxscript (pip install '.[export]')")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("head", ["simple", "regressor_25d"])  # detnet: with the run below
def test_an_exported_estimator_estimates_the_same_poses(head: HeadName, tmp_path: Path) -> None:
    config = replace(small_config(), estimator=EstimatorSettings(head))
    theirs = load_estimator(untrained_checkpoint(tmp_path / "best.ckpt", config), "cpu")
    export_estimator(tmp_path / "m.onnx", theirs, "best.ckpt")
    ours = OnnxPoseModel(tmp_path / "m.onnx")
    assert (ours.crop, ours.needs_camera) == (theirs.crop, theirs.needs_camera)
    hands = [DrawnHands(5)[row] for row in range(5)]
    squares = np.stack([theirs.square(hand.keypoints_2d_px, hand.size_px, hand.valid) for hand in hands])
    cameras = np.stack([hand.intrinsics for hand in hands])
    images = [hand.image for hand in hands]
    expected = theirs.predict(images, squares, cameras, batch_size=5)
    found = ours.predict(images, squares, cameras, batch_size=3)
    np.testing.assert_allclose(found.keypoints_2d_px, expected.keypoints_2d_px, atol=0.02)
    np.testing.assert_allclose(found.joints_3d_mm, expected.joints_3d_mm, atol=0.02)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)


def test_a_run_of_the_home_is_exported_and_predicted_from(tmp_path: Path, capsys: Capture) -> None:
    checkpoint = untrained_checkpoint(
        tmp_path / "runs" / "tuned" / "checkpoints" / "best.ckpt", small_config()
    )
    out = tmp_path / "hand.onnx"
    line = run_ok(capsys, "export", "tuned", "--best", "--format", "onnx", "--out", out, "--home", tmp_path)
    assert line.startswith(
        f"estimator (resnet18) of {checkpoint} in {out}, checked by ONNX Runtime; it takes"
    )
    assert f"`handsim predict --model {out}` runs it" in line
    record = json.loads(open_session(out).get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert (record["size_px"], record["mean_bone_mm"], record["source"]) == (64, 90.0, "tuned/best.ckpt")
    assert record["joints"][0] == "wrist"
    assert "mm relative to the wrist" in record["outputs"]["joints_mm"]
    photo = tmp_path / "a.png"
    Image.fromarray(DrawnHands(1)[0].image).save(photo)
    words = ["predict", str(photo), "--whole", "--home", str(tmp_path)]
    [by_torch] = run_json(capsys, *words, "--checkpoint", "tuned")
    [by_onnx] = run_json(capsys, *words, "--model", out)
    for name in ("keypoints_2d_px", "joints_3d_mm", "confidence"):
        np.testing.assert_allclose(by_onnx["hands"][0][name], by_torch["hands"][0][name], atol=0.02)
    with pytest.raises(HandsimError, match="an estimator, which takes crops of the size that it was trained"):
        export_onnx(out, checkpoint, "tuned", 32)


def test_an_exported_encoder_gives_the_same_features(tmp_path: Path, capsys: Capture) -> None:
    torch.manual_seed(0)
    encoder = Encoder("resnet18").eval()
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    config = {"augmentation": {"size_px": SIZE_PX}}
    torch.save({"handsim": {"config": config}, "state_dict": state}, tmp_path / "run.ckpt")
    line = run_ok(capsys, "export", tmp_path / "run.ckpt", "--out", tmp_path / "e.onnx")
    assert "encoder (resnet18)" in line
    assert "RGB crops of 64 x 64 pixels in 0..1" in line
    session = open_session(tmp_path / "e.onnx")
    for count in (1, 4):
        images = torch.rand(count, 3, SIZE_PX, SIZE_PX)
        [features] = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            expected = encoder(images).numpy()
        np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.usefixtures("tiny_transformers")
def test_an_exported_transformer_gives_the_same_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder("tiny_dinov2_reg").eval()  # type: ignore[arg-type]
    torch.save(encoder.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(HandsimError, match=r"^--size-px is 128; .* such as 126 or 140$"):
        export_onnx(tmp_path / "e.onnx", tmp_path / "vit.pth", "a test")
    export_onnx(tmp_path / "e.onnx", tmp_path / "vit.pth", "a test", 84)
    images = torch.rand(3, 3, 84, 84)
    [features] = open_session(tmp_path / "e.onnx").run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected = encoder(images).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())

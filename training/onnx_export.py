"""Encoders and estimators as ONNX files, checked by ONNX Runtime before they appear.

The normalisation of images before the network and the decoding of its maps after it are part of the graph, so
whoever runs it needs neither. The number of images in a batch is free, their size is the one of training.
"""

import logging
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from handsim.checkpoints import read_checkpoint
from handsim.detection.onnx import open_session
from handsim.embedding.networks import check_size
from handsim.embedding.trunk import read_trunk
from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing
from handsim.geometry import CROP_ENLARGEMENT
from handsim.skeleton import JOINT_NAMES
from training.finetune.onnx_model import IMAGES, INTRINSICS, METADATA_KEY, OnnxRecord
from training.finetune.predictor import KIND, Inference, load_estimator
from training.models.encoder import Encoder, load_weights, read_view_size
from training.models.estimator import PoseEstimator

TOLERANCE: Final = 1e-4
"""Bound of the difference between ONNX Runtime and torch: of features relative to the largest, of keypoints
in unit squares, of joints in reference bones."""
_USUAL_SIZE_PX: Final = 128
_CHECKED_BATCHES: Final = (1, 2, 5)
_TRIES: Final = 5
"""Of each batch, with other images: two cells of a heat map that are equal but for rounding, as those of an
untrained network, may be ranked either way. A wrong graph differs for every image."""
_IMAGES: Final = "RGB crops [N, 3, S, S] in 0..1, not normalised; left hands mirrored to right ones"
_AROUND: Final = "square around the box of the 2D joints, crop_factor times its longer side"
_CAMERA: Final = "K [N, 3, 3] of each crop's unit square: the picture's K after the affine into the crop"
_OUTPUTS: Final = {
    "keypoints": "[N, 21, 2] x right, y down, in the crop's unit square",
    "joints_mm": "[N, 21, 3] mm relative to the wrist, x right, y down, z into the picture",
    "confidence": "[N, 21] from 0 to 1",
}


def export_onnx(path: Path, checkpoint: Path, source: str, size_px: int | None = None) -> OnnxRecord:
    """Write a checkpoint to ``path``: one of `handsim finetune` as an estimator, any other as an encoder.

    ``size_px`` is the side of an encoder's images; None: that of its views in training, and 128, as in the
    recipes, where the file does not say it. Raises as `export_encoder`, `load_estimator` and `read_trunk`.
    """
    check_out(path)
    metadata = read_checkpoint(checkpoint).get("handsim")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("kind") == KIND:
        if size_px is not None:
            raise HandsimError(
                f"--size-px is {size_px}, and {checkpoint} is an estimator, which takes crops of the size "
                f"that it was trained on; leave it out"
            )
        return export_estimator(path, load_estimator(checkpoint, "cpu"), source)
    if size_px is None:
        size_px = read_view_size(checkpoint) or _USUAL_SIZE_PX
    weights = read_trunk(str(checkpoint))
    check_size(weights.architecture, size_px, "--size-px")
    encoder = Encoder(weights.architecture, channels_last=False)
    load_weights(encoder, weights)
    return export_encoder(path, encoder, size_px, source)


def check_out(path: Path) -> None:
    """Raise HandsimError or NotThereError where no file can be written."""
    if path.is_dir():
        raise HandsimError(f"{path} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise NotThereError(f"{path.parent} is not a directory; make it, or name another file")


def export_estimator(path: Path, inference: Inference, source: str) -> OnnxRecord:
    """Write an estimator to ``path``; ``source`` says for people what it was. Raises as `export_encoder`."""
    estimator, bone_mm, size_px = inference.estimator, inference.mean_bone_mm, inference.crop.size_px
    inputs = {IMAGES: f"{_IMAGES}; S {size_px}; {_AROUND}"}
    shapes: dict[str, tuple[int, ...]] = {IMAGES: (3, size_px, size_px)}
    if inference.needs_camera:
        inputs[INTRINSICS], shapes[INTRINSICS] = _CAMERA, (3, 3)
    record = OnnxRecord(
        kind="estimator",
        architecture=inference.config.encoder.architecture,
        head=inference.config.estimator.head,
        size_px=size_px,
        crop_factor=inference.crop.factor,
        inputs=inputs,
        outputs=_OUTPUTS,
        joints=JOINT_NAMES,
        mean_bone_mm=bone_mm,
        source=source,
    )
    scales: dict[str, float | None] = {"keypoints": 1.0, "joints_mm": bone_mm, "confidence": 1.0}
    _write(path, _PoseGraph(estimator, bone_mm).eval().cpu(), shapes, scales, record)
    return record


def export_encoder(path: Path, encoder: Encoder, size_px: int, source: str) -> OnnxRecord:
    """Write an encoder to ``path``, which appears whole or not at all, and only where ONNX Runtime agrees.

    Raises HandsimError where the file cannot be written, or computes something else than torch does, and
    ModuleNotFoundError without onnx, onnxscript or onnxruntime.
    """
    record = OnnxRecord(
        kind="encoder",
        architecture=encoder.architecture,
        size_px=size_px,
        crop_factor=CROP_ENLARGEMENT,
        inputs={IMAGES: f"{_IMAGES}; S {size_px}; {_AROUND}"},
        outputs={"features": f"[N, {encoder.features}] pooled over the image"},
        source=source,
    )
    _write(path, encoder.eval().cpu(), {IMAGES: (3, size_px, size_px)}, {"features": None}, record)
    return record


class _PoseGraph(nn.Module):
    """From images to joints in millimetres."""

    def __init__(self, estimator: PoseEstimator, bone_mm: float) -> None:
        super().__init__()
        self.encoder, self.head, self.bone_mm = estimator.encoder, estimator.head, bone_mm

    def forward(self, images: Tensor, intrinsics: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        estimate = self.head.decode(self.head(self.encoder.feature_maps(images)), intrinsics)
        return estimate.keypoints, estimate.joints * self.bone_mm, estimate.confidence


def _write(
    path: Path,
    network: nn.Module,
    shapes: dict[str, tuple[int, ...]],
    scales: dict[str, float | None],
    record: OnnxRecord,
) -> None:
    """``shapes`` are those of the inputs, by name and without the batch; ``scales`` say what each output's
    tolerance is relative to (None: its largest number)."""
    batch = torch.export.Dim("batch", min=1, max=65_536)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # of the graph's optimisation, nothing for users
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # its fused layer is not known to ONNX
        try:
            program = torch.onnx.export(
                network,
                tuple(_random_inputs(shapes, 2, seed=0).values()),
                dynamo=True,
                input_names=list(shapes),
                output_names=list(scales),
                dynamic_shapes=tuple({0: batch} for _ in shapes),
                opset_version=18,
                verbose=False,
            )
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
    assert program is not None
    program.model.metadata_props[METADATA_KEY] = record.to_json()
    try:
        with replacing(path) as temporary:
            program.save(str(temporary), external_data=False)
            _check(temporary, network, shapes, scales)
            temporary.chmod(0o644)
    except OSError as error:
        raise HandsimError(
            f"{path} cannot be written ({error}); check space and permissions there, and run it again"
        ) from error


def _check(
    path: Path, network: nn.Module, shapes: dict[str, tuple[int, ...]], scales: dict[str, float | None]
) -> None:
    """Raise HandsimError where ONNX Runtime computes something else than torch."""
    session = open_session(path)
    for count in _CHECKED_BATCHES:
        for seed in range(_TRIES):
            feeds = _random_inputs(shapes, count, seed)
            with torch.no_grad():
                answer = network(*feeds.values())
            expected = [answer] if isinstance(answer, Tensor) else list(answer)
            found: list[Any] = session.run(list(scales), {name: feed.numpy() for name, feed in feeds.items()})
            worst = max(
                float(np.abs(ours - theirs.numpy()).max()) / (scale or float(theirs.abs().max()))
                for ours, theirs, scale in zip(found, expected, scales.values(), strict=True)
            )
            if worst <= TOLERANCE:
                break
        else:
            raise HandsimError(
                f"ONNX Runtime computes something else than torch for {count} images (they differ by "
                f"{worst:.2g}, at most {TOLERANCE:g} is allowed); no file was written: please report it"
            )


def _random_inputs(shapes: dict[str, tuple[int, ...]], count: int, seed: int) -> dict[str, Tensor]:
    """Images that are noise, and cameras that look at the middle of their crops."""
    generator = torch.Generator().manual_seed(seed)
    camera = torch.tensor([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]])
    return {
        name: camera.expand(count, 3, 3).clone()
        if name == INTRINSICS
        else torch.rand(count, *shape, generator=generator)
        for name, shape in shapes.items()
    }

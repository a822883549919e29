"""A trunk and a head: shapes, names, freezing, and errors."""

from pathlib import Path

import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image import Architecture
from handsim.embedding.trunk import read_trunk
from handsim.errors import HandsimError
from tests.training.models.builders import HEADS, draw_targets
from training.models.encoder import EncoderSettings
from training.models.estimator import EstimatorSettings, HeadName, PoseEstimator, build_estimator

pytestmark = pytest.mark.slow

HANDS, SIDE_PX = 2, 64


every_head = pytest.mark.parametrize("head", HEADS)


def _estimator(init: Path | None = None, head: HeadName = "detnet") -> PoseEstimator:
    torch.manual_seed(0)
    encoder = EncoderSettings("resnet18", str(init) if init else None)
    return build_estimator(encoder, EstimatorSettings(head))


def _views(seed: int = 0) -> torch.Tensor:
    return torch.rand(HANDS, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("architecture", "features", "side_px"), [("resnet18", 512, 64), ("resnet50", 2048, 96)]
)
def test_maps_of_every_stage_and_of_the_head_have_their_shapes(
    architecture: Architecture, features: int, side_px: int
) -> None:
    with torch.device("meta"):
        estimator = build_estimator(EncoderSettings(architecture), EstimatorSettings())
        views = torch.zeros(3, 3, side_px, side_px)
        stages = estimator.encoder.feature_maps(views)
        prediction = estimator(views)
    assert [stage.shape for stage in stages] == [
        (3, features // 2**step, side_px * 2**step // 32, side_px * 2**step // 32) for step in (3, 2, 1, 0)
    ]
    quarter = side_px // 4
    assert prediction.heat_maps.shape == (3, 21, quarter, quarter)
    assert prediction.location_maps.shape == prediction.delta_maps.shape == (3, 21, 3, quarter, quarter)


def test_the_last_stage_pooled_is_the_output_of_the_encoder() -> None:
    encoder = _estimator().encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder.feature_maps(_views())[-1].mean((2, 3)), encoder(_views()))


def test_names_are_torchvisions_and_the_trunk_can_be_read(tmp_path: Path) -> None:
    """From its own state dict, and from a checkpoint of fine-tuning, which has one more prefix."""
    estimator = _estimator()
    state = estimator.state_dict()
    theirs = [name for name in models.resnet18().state_dict() if not name.startswith("fc.")]
    assert [name for name in state if name.startswith("encoder.")] == [f"encoder.trunk.{n}" for n in theirs]
    assert all(name.startswith(("encoder.trunk.", "head.")) for name in state)
    for number, prefix in enumerate(("", "estimator.")):
        path = tmp_path / f"{number}.ckpt"
        torch.save({"state_dict": {prefix + name: tensor for name, tensor in state.items()}}, path)
        weights = read_trunk(str(path))
        assert weights.architecture == "resnet18"
        for name, array in weights.tensors.items():
            assert torch.equal(torch.from_numpy(array), state[f"encoder.trunk.{name}"]), name
        again = _estimator(path)
        assert again.encoder.origin == f"resnet18 of {path}, sha256 {weights.sha256[:16]}"
        assert torch.equal(
            again.encoder.trunk.get_parameter("conv1.weight"), state["encoder.trunk.conv1.weight"]
        )


@every_head
def test_gradients_reach_every_weight(head: HeadName) -> None:
    estimator = _estimator(head=head).train()
    targets = draw_targets(HANDS, dtype=torch.float32)
    estimator.loss(estimator(_views()), targets)["loss"].backward()  # type: ignore[no-untyped-call]
    for name, parameter in estimator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_frozen_trunk_does_not_change() -> None:
    estimator = _estimator()
    estimator.freeze_trunk()
    assert estimator.train() is estimator
    assert estimator.head.training
    assert not any(module.training for module in estimator.encoder.modules())
    before = {name: tensor.clone() for name, tensor in estimator.state_dict().items()}
    trained = [parameter for parameter in estimator.parameters() if parameter.requires_grad]
    assert len(trained) == len(list(estimator.head.parameters()))
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        targets = draw_targets(HANDS, dtype=torch.float32)
        estimator.loss(estimator(_views()), targets)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        estimator.eval()
        estimator.train()
    after = estimator.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("head.")}
    assert all(parameter.grad is None for parameter in estimator.encoder.parameters())


def test_autocast_changes_neither_loss_nor_poses() -> None:
    estimator = _estimator().eval()
    targets = draw_targets(HANDS, dtype=torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        prediction = estimator(_views())
        assert prediction.heat_maps.dtype == torch.bfloat16
        inside, estimate = estimator.loss(prediction, targets), estimator.decode(prediction)
    assert inside == estimator.loss(prediction, targets)
    assert inside["loss"].dtype == estimate.joints.dtype == torch.float32
    assert torch.equal(estimate.joints, estimator.decode(prediction).joints)
    assert not estimator.decode(estimator(_views())).joints.requires_grad


@every_head
@pytest.mark.parametrize("size", [(64, 96), (48, 48), (0, 0), (100, 100)])
def test_views_of_other_sizes_are_named(size: tuple[int, int], head: HeadName) -> None:
    height, width = size
    with torch.device("meta"):
        estimator = _estimator(head=head)
    with pytest.raises(HandsimError, match=f"the views are {width} x {height} pixels; .* multiple of 32"):
        estimator(torch.zeros(1, 3, height, width))


def test_an_unknown_head_is_named() -> None:
    with pytest.raises(HandsimError, match="head is 'hrnet'; it is one of detnet, regressor_25d, simple"):
        EstimatorSettings("hrnet")  # type: ignore[arg-type]

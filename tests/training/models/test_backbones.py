"""ConvNeXt-T and vision transformers are pre-trained, fine-tuned and embedded with as ResNets are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.embedding.trunk import read_trunk
from handsim.errors import HandsimError
from handsim.pool import Pool
from index import open_catalog
from tests.training.models.builders import HEADS, draw_targets
from tests.training.pretrain.builders import RECIPE, Place
from training.finetune.config import FinetuneConfig
from training.models.encoder import Encoder, EncoderSettings, write_torchvision
from training.models.estimator import EstimatorSettings, HeadName, build_estimator
from training.pretrain.config import RECIPES, PretrainConfig
from training.pretrain.train import pretrain
from training.runs.folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_transformers")]


@pytest.fixture(scope="module")
def convnext() -> torch.nn.Module:
    torch.manual_seed(0)
    network: torch.nn.Module = models.convnext_tiny(weights=None)
    return network.eval()


@torch.no_grad()
def test_a_convnext_is_torchvisions_in_and_out(convnext: torch.nn.Module, tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in convnext.state_dict().items()}
    torch.save({"model": state}, tmp_path / "theirs.pth")
    weights = read_trunk(str(tmp_path / "theirs.pth"))
    assert weights.architecture == "convnext_tiny"
    write_torchvision(tmp_path / "ours.safetensors", weights, "a test")
    assert read_trunk(str(tmp_path / "ours.safetensors")).sha256 == weights.sha256
    encoder = Encoder("convnext_tiny").eval()
    encoder.trunk.load_state_dict({name: torch.from_numpy(each) for name, each in weights.tensors.items()})
    images = torch.rand(2, 3, 64, 64)
    expected = convnext.get_submodule("features")((images - encoder.mean) / encoder.std)
    pooled = convnext.get_submodule("classifier")[:2](expected.mean((2, 3), keepdim=True))  # type: ignore[index]
    torch.testing.assert_close(encoder(images), pooled, atol=1e-4, rtol=1e-4)
    maps = encoder.feature_maps(images)
    torch.testing.assert_close(maps[-1], expected, atol=1e-4, rtol=1e-4)
    assert [tuple(each.shape[1:]) for each in maps] == [(96, 16, 16), (192, 8, 8), (384, 4, 4), (768, 2, 2)]


def test_a_larger_convnext_is_not_taken_for_one(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: each.shape for name, each in models.convnext_small().state_dict().items()}
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, tmp_path / "small.pth")
    with pytest.raises(HandsimError, match=r"small\.pth is no plain convnext_tiny: it has features\.5\.9\."):
        read_trunk(str(tmp_path / "small.pth"))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("architecture", "side_px"), [("tiny_16", 64), ("tiny_dinov2_reg", 56)])
def test_every_head_learns_from_the_tokens_of_a_transformer(
    architecture: str, side_px: int, head: HeadName
) -> None:
    torch.manual_seed(0)
    settings = EncoderSettings(architecture)  # type: ignore[arg-type]
    estimator = build_estimator(settings, EstimatorSettings(head))
    images = torch.rand(3, 3, side_px, side_px)
    prediction = estimator(images)
    loss = estimator.loss(prediction, draw_targets(3))["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for name, weight in estimator.named_parameters() if "head" in name)
    camera = torch.tensor([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]]).expand(3, 3, 3)
    estimate = estimator.decode(prediction, camera)
    assert estimate.joints.shape == (3, 21, 3)
    with pytest.raises(HandsimError, match=rf"side that is a multiple of {side_px // 4}$"):
        estimator(torch.rand(1, 3, 60, 60))


def test_views_that_patches_do_not_divide_are_refused_with_sizes_that_they_do() -> None:
    encoder = EncoderSettings("vit_small_dinov2")
    for config in (PretrainConfig, FinetuneConfig):
        with pytest.raises(HandsimError, match=r"^augmentation\.size_px is 128; .* such as 126 or 140$"):
            config(encoder=encoder)


def test_a_transformer_is_pre_trained_and_the_pool_embedded_with_it(place: Place, tmp_path: Path) -> None:
    config = RECIPES.fill(RECIPE, ["--trainer.max_steps=2"], "test")
    config = replace(config, encoder=EncoderSettings("tiny_16"))  # type: ignore[arg-type]
    folder = RunFolder.new(place.home, "vit")
    with open_catalog(place.home.index) as catalog:
        assert pretrain(config, place.home, catalog, folder, say=lambda line: None).finished
    assert str(read_trunk(str(folder.last)).architecture) == "tiny_16"
    pool, options = Pool.open(place.home.pool), ImageFitOptions(components=4, image_size_px=32)
    embedding = fit_image_embedding(pool, str(folder.last), tmp_path / "embedding.json", options)
    assert (embedding.record.architecture, embedding.dimension) == ("tiny_16", 4)
    with pytest.raises(HandsimError, match=r"^the image size is 40; for a tiny_16, .* such as 32 or 48$"):
        fit_image_embedding(pool, str(folder.last), tmp_path / "x.json", replace(options, image_size_px=40))

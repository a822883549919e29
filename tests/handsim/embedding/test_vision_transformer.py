"""Vision transformers of every published layout compute what their makers' own code computes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from handsim.embedding.networks import check_size
from handsim.embedding.trunk import Trunk, read_trunk
from handsim.embedding.vision_transformer import VisionTransformer, VitShape, resize_positions
from handsim.embedding.vit_weights import rename_vit
from handsim.errors import HandsimError
from tests.handsim.embedding.transformers import TINY_SHAPES
from training.models.encoder import Encoder, write_torchvision

pytestmark = pytest.mark.usefixtures("tiny_transformers")


def random(network: torch.nn.Module) -> Any:
    """The network with weights that are all different from each other."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return network.eval()


def ours(state: dict[str, torch.Tensor], shape: VitShape) -> VisionTransformer:
    network = VisionTransformer(shape)
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return network.eval()


def images(side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ["tiny_dinov2", "tiny_dinov2_reg", "tiny_dinov3", "tiny_16"])
@torch.no_grad()
def test_features_are_those_of_transformers(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with transformers' own networks")
    shape = TINY_SHAPES[name]
    common = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": shape.patch_px,
        "image_size": 4 * shape.patch_px,
    }
    if name == "tiny_dinov3":
        config = transformers.DINOv3ViTConfig(**common, intermediate_size=128, num_register_tokens=3)
        network = random(transformers.DINOv3ViTModel(config))
    elif name == "tiny_16":
        config = transformers.ViTConfig(**common, intermediate_size=128, layer_norm_eps=1e-6)
        network = random(transformers.ViTModel(config, add_pooling_layer=False))
    elif shape.registers:
        config = transformers.Dinov2WithRegistersConfig(**common, num_register_tokens=3)
        network = random(transformers.Dinov2WithRegistersModel(config))
    else:
        network = random(transformers.Dinov2Model(transformers.Dinov2Config(**common)))
    mine = ours(rename_vit(network.state_dict()), shape)
    for patches in (4,) if name == "tiny_16" else (4, 6):
        pictures = images(patches * shape.patch_px)
        tokens = network(pictures).last_hidden_state
        torch.testing.assert_close(mine(pictures), tokens[:, 0], atol=1e-4, rtol=1e-4)
        grid = tokens[:, 1 + shape.registers :].mT.unflatten(2, (patches, patches))
        torch.testing.assert_close(mine.feature_map(pictures), grid, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "options", "name"),
    [
        ("vit_small_patch14_dinov2", {}, "tiny_dinov2"),
        ("vit_small_patch14_reg4_dinov2", {"reg_tokens": 3}, "tiny_dinov2_reg"),
        ("vit_small_patch16_dinov3", {"num_reg_tokens": 3}, "tiny_dinov3"),
        ("vit_small_patch16_dinov3_qkvb", {"num_reg_tokens": 3}, "tiny_dinov3"),
        ("vit_small_patch16_224", {}, "tiny_16"),
    ],
)
@torch.no_grad()
def test_features_are_those_of_timm(model: str, options: dict[str, int], name: str) -> None:
    timm = pytest.importorskip("timm", reason="compares with timm's own networks")
    shape = TINY_SHAPES[name]
    side = 4 * shape.patch_px
    network = random(
        timm.create_model(model, embed_dim=32, depth=2, num_heads=2, img_size=side, num_classes=0, **options)
    )
    mine = ours(rename_vit(network.state_dict()), shape)
    pictures = images(side)
    tokens = network.forward_features(pictures)
    torch.testing.assert_close(mine(pictures), tokens[:, 0], atol=1e-4, rtol=1e-4)


def meta_layout(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As Meta's DINOv3 code saves it: keys' biases are NaN, and masked."""
    found = dict(state)
    found["storage_tokens"] = found.pop("register_tokens")
    for block in ("blocks.0.", "blocks.1."):
        mask = torch.ones(96)
        mask[32:64] = torch.nan
        found[f"{block}attn.qkv.bias_mask"] = mask
        found[f"{block}attn.qkv.bias"] = found[f"{block}attn.qkv.bias"] * mask
    return found


@pytest.mark.parametrize("name", TINY_SHAPES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_are_written_and_read_with_their_shape(name: str, suffix: str, tmp_path: Path) -> None:
    encoder = Encoder(name)  # type: ignore[arg-type]
    random(encoder)
    state = {f"model.encoder.trunk.{key}": value for key, value in encoder.trunk.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "run.ckpt")
    first = read_trunk(str(tmp_path / "run.ckpt"))
    assert first.architecture == name
    write_torchvision(tmp_path / f"out{suffix}", first, "a test")
    assert read_trunk(str(tmp_path / f"out{suffix}")).sha256 == first.sha256
    crops = [torch.randint(0, 256, (56, 56, 3), dtype=torch.uint8).numpy() for _ in range(2)]
    side = 4 * TINY_SHAPES[name].patch_px
    features = Trunk(first, side, "cpu").extract_features(crops)
    assert features.shape == (2, 32)


def test_metas_masked_biases_are_none(tmp_path: Path) -> None:
    network = random(VisionTransformer(TINY_SHAPES["tiny_dinov3"]))
    state = network.state_dict()
    for block in ("blocks.0.", "blocks.1."):
        state[f"{block}attn.qkv.bias"][32:64] = 0
    save_file(meta_layout(state), tmp_path / "meta.safetensors")
    found = read_trunk(str(tmp_path / "meta.safetensors"))
    assert str(found.architecture) == "tiny_dinov3"
    for name, value in state.items():
        torch.testing.assert_close(torch.from_numpy(found.tensors[name]), value)


def test_timms_biases_without_those_of_keys_are_read(tmp_path: Path) -> None:
    state = random(VisionTransformer(TINY_SHAPES["tiny_dinov3"])).state_dict()
    theirs = dict(state)
    for block in ("blocks.0.", "blocks.1."):
        state[f"{block}attn.qkv.bias"][32:64] = 0
        bias = theirs.pop(f"{block}attn.qkv.bias")
        theirs |= {f"{block}attn.q_bias": bias[:32].clone(), f"{block}attn.v_bias": bias[64:].clone()}
    save_file(theirs, tmp_path / "timm.safetensors")
    found = read_trunk(str(tmp_path / "timm.safetensors"))
    for name, value in state.items():
        torch.testing.assert_close(torch.from_numpy(found.tensors[name]), value)


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [
        ("blocks.1.attn.qkv.weight", r"lacks blocks\.1\.attn\.qkv\.weight"),
        ("cls_token", "lacks cls_token"),
        ("norm.bias", r"lacks norm\.bias"),
    ],
)
def test_a_file_with_a_part_of_a_transformer_is_refused(missing: str, complaint: str, tmp_path: Path) -> None:
    state = random(VisionTransformer(TINY_SHAPES["tiny_dinov2_reg"])).state_dict()
    del state[missing]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(HandsimError, match=rf"part\.pth looks like a tiny_dinov2_reg but {complaint}"):
        read_trunk(str(tmp_path / "part.pth"))


def test_positions_of_another_grid_are_interpolated(tmp_path: Path) -> None:
    state = random(VisionTransformer(TINY_SHAPES["tiny_dinov2"])).state_dict()
    before = state["pos_embed"]
    state["pos_embed"] = torch.cat([before[:, :1], resize_positions(before[:, 1:], 8, antialias=False)], 1)
    torch.save(state, tmp_path / "fine.pth")
    found = read_trunk(str(tmp_path / "fine.pth"))
    assert (found.architecture, found.tensors["pos_embed"].shape) == ("tiny_dinov2", (1, 17, 32))


def test_other_transformers_and_sizes_are_refused_in_one_line(tmp_path: Path) -> None:
    state = VisionTransformer(VitShape(48, 14, grid=4, depth=3, head_width=16)).state_dict()
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(
        HandsimError, match=r"transformer of 3 blocks, 48 wide, with patches of 14 pixels, 0 re"
    ):
        read_trunk(str(tmp_path / "other.pth"))
    with pytest.raises(HandsimError, match=r"size_px is 128; for a vit_small_dinov2, .* such as 126 or 140$"):
        check_size("vit_small_dinov2", 128, "augmentation.size_px")

"""Weights of vision transformers, in the layouts that they are published in.

Meta's DINO and DINOv2 (github.com/facebookresearch/dino, dinov2) have the names that are used here; Meta's
DINOv3 (dinov3), timm, and transformers (its ViT, Dinov2, Dinov2WithRegisters and DINOv3ViT) have others.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from handsim.embedding.image import Architecture
from handsim.embedding.networks import VIT_SHAPES
from handsim.embedding.vision_transformer import VitShape, resize_positions
from handsim.errors import HandsimError

_RENAMED: Final = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^(?:embeddings\.register_tokens|reg_token|storage_tokens)$", "register_tokens"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?(weight|bias)$", r"patch_embed.proj.\1"),
    (r"^(?:encoder\.|model\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.gamma_([12])$", r".ls\1.gamma"),
    (r"\.attention\.(?:attention\.)?(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^(?:layernorm|model\.norm)\.", "norm."),
)
"""Patterns of other names, applied one after the other, and what is written here instead."""
_PARTS: Final = (("query", "key", "value"), ("q", "k", "v"))


def rename_vit(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a vision transformer, of any of these layouts, by the names used here.

    What a file lacks is left for the reader to find.
    """
    found = {}
    for name, tensor in tensors.items():
        for pattern, ours in _RENAMED:
            name = re.sub(pattern, ours, name)
        found[name] = tensor
    for number in range(_count_blocks(found)):
        _join_block(found, f"blocks.{number}.")
    count = _count_tokens(found, "pos_embed")
    if "register_tokens" in found and 0 < count == math.isqrt(count) ** 2:
        # timm has added the position of the class token to the token
        positions = found["pos_embed"]
        found["pos_embed"] = torch.cat([torch.zeros_like(positions[:, :1]), positions], 1)
    return found


def _join_block(found: dict[str, Tensor], block: str) -> None:
    """Queries, keys and values in one; a bias or a layer scale that a network lacks is 0 or 1."""
    qkv = f"{block}attn.qkv"
    for names in _PARTS:
        parts = [f"{block}attn.{name}" for name in names]
        if all(f"{part}.weight" in found for part in parts):
            weights = [found.pop(f"{part}.weight") for part in parts]
            biases = [
                found.pop(f"{part}.bias", weight.new_zeros(len(weight)))
                for part, weight in zip(parts, weights, strict=True)
            ]
            found[f"{qkv}.weight"], found[f"{qkv}.bias"] = torch.cat(weights), torch.cat(biases)
    if f"{qkv}.weight" not in found:
        return
    weight, mask = found[f"{qkv}.weight"], found.pop(f"{qkv}.bias_mask", None)
    if f"{block}attn.q_bias" in found and f"{block}attn.v_bias" in found:  # timm's DINOv3: keys have none
        queries, values = found.pop(f"{block}attn.q_bias"), found.pop(f"{block}attn.v_bias")
        found[f"{qkv}.bias"] = torch.cat([queries, torch.zeros_like(queries), values])
    bias = found.setdefault(f"{qkv}.bias", weight.new_zeros(len(weight)))
    if mask is not None:  # Meta's DINOv3: keys have none, and NaN in its place
        found[f"{qkv}.bias"] = bias.where(mask.nan_to_num(0) > 0, 0.0)
    for number in (1, 2):
        found.setdefault(f"{block}ls{number}.gamma", weight.new_ones(weight.shape[1]))


def identify_vit(state: Mapping[str, Tensor], encoder: str) -> tuple[Architecture, dict[str, Tensor]]:
    """Which network has these weights, by the names used here, and they with positions on its own grid.

    Raises HandsimError, with ``encoder``, the file's name for people, for one of another shape.
    """
    found = _find_shape(state)
    for architecture, shape in VIT_SHAPES.items():
        if replace(found, grid=shape.grid, head_width=shape.head_width) != shape:
            continue
        if found.grid == shape.grid or _count_tokens(state, "pos_embed") != 1 + found.grid**2:
            return architecture, dict(state)
        positions = state["pos_embed"]
        learned = resize_positions(positions[:, 1:], shape.grid, antialias=shape.registers > 0)
        return architecture, {**state, "pos_embed": torch.cat([positions[:, :1], learned], 1)}
    places = "rotary" if found.is_rotary else "learned"
    raise HandsimError(
        f"{encoder} is a vision transformer of {found.depth} blocks, {found.width} wide, with patches of "
        f"{found.patch_px} pixels, {found.registers} registers and {places} places; those of these are "
        f"{', '.join(VIT_SHAPES)}: give one of them"
    )


def _find_shape(tensors: Mapping[str, Tensor]) -> VitShape:
    """How many heads there are does not show in the weights; they are 64 wide in all that are published."""
    width, _, patch_px, _ = tensors["patch_embed.proj.weight"].shape
    is_rotary = "pos_embed" not in tensors
    grid = math.isqrt(max(0, _count_tokens(tensors, "pos_embed") - 1))
    return VitShape(
        width, patch_px, _count_tokens(tensors, "register_tokens"), grid, is_rotary, _count_blocks(tensors)
    )


def _count_tokens(tensors: Mapping[str, Tensor], name: str) -> int:
    """n of a tensor [1, n, F]; 0 where there is none."""
    return tensors[name].shape[1] if name in tensors and tensors[name].ndim == 3 else 0


def _count_blocks(tensors: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("blocks.") and name.endswith(".norm1.weight") for name in tensors)

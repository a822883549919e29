"""Vision transformers (Dosovitskiy et al., ICLR 2021) as DINO, DINOv2 and DINOv3 publish them.

torchvision's has neither layer scale nor registers, and no rotary positions, so this is one of our own: the
three differ in little, and a library of a thousand networks would come with every installation. Names of
weights are those of Meta's code and timm; `rename` reads transformers' names, too.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROTARY_BASE: Final = 100.0
"""DINOv3's."""


@dataclass(frozen=True)
class VitShape:
    """What distinguishes one from another."""

    width: int
    """F, the length of a token."""
    patch_px: int
    """Side of the patch that becomes a token."""
    registers: int = 0
    """Tokens without a place (Darcet et al., ICLR 2024)."""
    grid: int = 37
    """Side of the grid of learned positions, which are interpolated to that of an image."""
    is_rotary: bool = False
    """Whether places turn queries and keys (DINOv3), instead of being added to tokens."""
    depth: int = 12
    head_width: int = 64


class VisionTransformer(nn.Module):
    """From normalised images [B, 3, S, S], S a multiple of the patch, to features [B, F], those of the class
    token."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape, width, epsilon = shape, shape.width, 1e-5 if shape.is_rotary else 1e-6
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, shape.patch_px, shape.patch_px)})
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        if shape.registers:
            self.reg_token = nn.Parameter(torch.empty(1, shape.registers, width))
        if not shape.is_rotary:
            self.pos_embed = nn.Parameter(torch.empty(1, 1 + shape.grid**2, width))
        self.blocks = nn.ModuleList(_Block(shape, epsilon) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, epsilon)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                nn.init.trunc_normal_(weight, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, images: Tensor) -> Tensor:
        return self._tokens(images)[:, 0]

    def feature_map(self, images: Tensor) -> Tensor:
        """The tokens of the patches [B, F, S/patch, S/patch]."""
        side = images.shape[-1] // self.shape.patch_px
        tokens = self._tokens(images)[:, 1 + self.shape.registers :]
        return tokens.mT.unflatten(2, (side, side)).contiguous()

    def _tokens(self, images: Tensor) -> Tensor:
        """All tokens [B, 1 + registers + patches, F]: class, registers, patches row by row."""
        patches = self.patch_embed["proj"](images)
        side, rotation = patches.shape[-1], None
        tokens, first = patches.flatten(2).mT, self.cls_token
        if self.shape.is_rotary:
            rotation = _rotation(side, self.shape.head_width, tokens)
        else:
            first = first + self.pos_embed[:, :1]
            tokens = tokens + self._positions(side)
        parts = [first.expand(len(images), -1, -1)]
        if self.shape.registers:
            parts.append(self.reg_token.expand(len(images), -1, -1))
        tokens = torch.cat([*parts, tokens], 1)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        normalised: Tensor = self.norm(tokens)
        return normalised

    def _positions(self, side: int) -> Tensor:
        learned = self.pos_embed[:, 1:]
        if side == self.shape.grid:
            return learned
        return resize_positions(learned, side, antialias=self.shape.registers > 0)


def resize_positions(learned: Tensor, side: int, *, antialias: bool) -> Tensor:
    """Positions [1, n, F] of a square grid for one of ``side`` patches: [1, side^2, F].

    ``antialias`` as DINOv2 has it: with registers, and not without.
    """
    grid = math.isqrt(learned.shape[1])
    square = learned.float().mT.unflatten(2, (grid, grid))
    resized = functional.interpolate(square, (side, side), mode="bicubic", antialias=antialias)
    return resized.flatten(2).mT.to(learned)


def _rotation(side: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [side^2, head width] of the angles of each patch, as DINOv3 has them."""
    places = 2 * (torch.arange(side, device=like.device, dtype=torch.float32) + 0.5) / side - 1
    y, x = torch.meshgrid(places, places, indexing="ij")
    exponents = torch.arange(0, 1, 4 / head_width, device=like.device)
    angles = 2 * math.pi * torch.stack([y, x], -1).flatten(0, 1)[:, :, None] / _ROTARY_BASE**exponents
    angles = angles.flatten(1).tile(2)
    return angles.cos().to(like), angles.sin().to(like)


class _Block(nn.Module):
    def __init__(self, shape: VitShape, epsilon: float) -> None:
        super().__init__()
        width = shape.width
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.attn = _Attention(shape)
        self.ls1, self.ls2 = _LayerScale(width), _LayerScale(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        tokens = tokens + self.ls1.gamma * self.attn(self.norm1(tokens), rotation)
        hidden = functional.gelu(self.mlp["fc1"](self.norm2(tokens)))
        output: Tensor = tokens + self.ls2.gamma * self.mlp["fc2"](hidden)
        return output


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))


class _Attention(nn.Module):
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape = shape
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.proj = nn.Linear(shape.width, shape.width)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        heads = self.qkv(tokens).unflatten(2, (3, -1, self.shape.head_width)).permute(2, 0, 3, 1, 4)
        queries, keys, values = heads.unbind()
        if rotation is not None:
            queries, keys = (self._rotate(each, *rotation) for each in (queries, keys))
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return output

    def _rotate(self, heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Turn the patches' part of queries or keys [B, heads, tokens, head width]."""
        first = 1 + self.shape.registers
        fixed, turned = heads[:, :, :first], heads[:, :, first:]
        low, high = turned.chunk(2, -1)
        return torch.cat([fixed, turned * cosines + torch.cat([-high, low], -1) * sines], 2)


_RENAMED: Final = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^(?:embeddings\.register_tokens|register_tokens|storage_tokens)$", "reg_token"),
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
"""From names of transformers (Dinov2, Dinov3ViT, ViT) and Meta's DINOv3."""
_PARTS: Final = (("query", "key", "value"), ("q", "k", "v"))


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a vision transformer, of any of the published layouts, by the names used here."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, ours in _RENAMED:
            name = re.sub(pattern, ours, name)
        found[name] = tensor
    for number in range(sum(name.endswith(".norm1.weight") for name in found)):
        _join_block(found, f"blocks.{number}.")
    if "pos_embed" in found and "reg_token" in found:
        tokens = found["pos_embed"].shape[1]
        if math.isqrt(tokens) ** 2 == tokens:  # timm has added the position of the class token to it
            found["pos_embed"] = torch.cat([torch.zeros_like(found["cls_token"]), found["pos_embed"]], 1)
    return found


def _join_block(found: dict[str, Tensor], block: str) -> None:
    """Queries, keys and values in one; a bias or a layer scale that a network lacks is 0 or 1."""
    for names in _PARTS:
        parts = [f"{block}attn.{name}" for name in names]
        if f"{parts[0]}.weight" in found:
            found[f"{block}attn.qkv.weight"] = torch.cat([found.pop(f"{part}.weight") for part in parts])
            like = found[f"{block}attn.qkv.weight"]
            none = like.new_zeros(len(like) // 3)
            found[f"{block}attn.qkv.bias"] = torch.cat([found.pop(f"{part}.bias", none) for part in parts])
    weight, mask = found[f"{block}attn.qkv.weight"], found.pop(f"{block}attn.qkv.bias_mask", None)
    bias = found.setdefault(f"{block}attn.qkv.bias", weight.new_zeros(len(weight)))
    if mask is not None:  # Meta's DINOv3: keys have no bias, and NaN in its place
        found[f"{block}attn.qkv.bias"] = bias.where(mask.nan_to_num(0) > 0, 0.0)
    for number in (1, 2):
        found.setdefault(f"{block}ls{number}.gamma", weight.new_ones(weight.shape[1]))


def find_shape(tensors: Mapping[str, Tensor]) -> VitShape:
    """The shape of a network with these weights, by the names used here; heads are 64 wide in all of them."""
    width, _, patch_px, _ = tensors["patch_embed.proj.weight"].shape
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    is_rotary = "pos_embed" not in tensors
    grid = 37 if is_rotary else math.isqrt(tensors["pos_embed"].shape[1] - 1)
    depth = sum(name.endswith(".norm1.weight") for name in tensors)
    return VitShape(width, patch_px, registers, grid, is_rotary, depth)

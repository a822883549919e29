"""Vision transformers (Dosovitskiy et al., ICLR 2021) as DINO, DINOv2 and DINOv3 publish them.

torchvision's has neither layer scale nor registers, and no rotary positions, so this is one of our own: the
three differ in little, and a library of a thousand networks would come with every installation. Blocks
normalise before attention and before the MLP, and the features are the class token behind the last norm.
Sources: DINO (arXiv 2104.14294), DINOv2 (2304.07193), registers (2309.16588) and DINOv3 (2508.10104).

Weights have the names of Meta's DINOv2; `handsim.embedding.vit_weights` renames those of others.
"""

import math
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
            self.register_tokens = nn.Parameter(torch.empty(1, shape.registers, width))
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
        return tokens.mT.reshape(images.shape[0], self.shape.width, side, side).contiguous()

    def _tokens(self, images: Tensor) -> Tensor:
        """All tokens [B, 1 + registers + patches, F]: class, registers, patches row by row."""
        patches = self.patch_embed["proj"](images)
        side, rotation = patches.shape[-1], None
        tokens: Tensor = patches.flatten(2).mT
        first: Tensor = self.cls_token
        if self.shape.is_rotary:
            rotation = _rotation(side, self.shape.head_width, tokens)
        else:
            first = first + self.pos_embed[:, :1]
            tokens = tokens + self._positions(side)
        count = images.shape[0]  # not len(), an int, which would become part of an ONNX graph
        parts = [first.expand(count, -1, -1)]
        if self.shape.registers:
            parts.append(self.register_tokens.expand(count, -1, -1))
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

    ``antialias`` as DINOv2 has it: with registers, and not without. The borders of the grids meet, as in
    transformers; Meta's code for networks without registers scales by (side + 0.1) / grid instead.
    """
    grid = math.isqrt(learned.shape[1])
    square = learned.float().mT.reshape(1, -1, grid, grid)
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
    """Attention among the tokens [B, n, F], then an MLP of each, both added to them by a factor."""

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
    """A factor for each channel (Touvron et al., ICCV 2021, arXiv 2103.17239); 1 in networks without."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))


class _Attention(nn.Module):
    """Of every token to all, by several heads; ``rotation`` turns the queries and keys of patches."""

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

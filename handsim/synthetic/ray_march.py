"""Ray marching against soft capsules: where each pixel's ray meets the surface.

The surface is the level set sum_i exp(-d_i / s_i) = 1 of the distances d_i to the capsules, s_i being their
softness: alone a capsule is itself, near another they melt together. A ray starts where it would meet the
nearest bare capsule and then walks by the distance that the field promises (sphere tracing, Hart 1996).

The picture is cut into tiles of 8 x 8 pixels. A tile no capsule reaches is background; of the others each
looks only at its own nearest capsules. All is float32 [tiles, capsules, pixels] and done a few tiles at a
time, so that it stays in the processor's cache.
"""

from copy import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TILE: Final = 8
"""Side of a tile in pixels."""
_NEAREST: Final = (7, 14)
"""How many capsules a tile looks at, when few are near and when many are."""
_REACH_MM: Final = 8.0
"""How far from its skin a capsule still draws others out."""
_SWELL_MM: Final = 3.0
"""How far capsules that melt together can stand out from each of them."""
_STEPS: Final = (2, 3, 3, 5)
"""Steps that all rays walk, then the rays of tiles with one that has not arrived, and so on."""
_BEHIND_MM: Final = 40.0
"""A ray this far behind where its tile's rays began will meet nothing more."""
_ARRIVED_MM: Final = 0.3
_TINY: Final = 1e-30


@dataclass(frozen=True, eq=False)
class Capsules:
    """Tapered capsules of N pictures, in camera axes with the wrist as the origin; mm.

    ``start`` and ``end`` are [N, K, 3], ``radii`` at these ends [N, K, 2], ``softness`` [K].
    """

    start: Tensor
    end: Tensor
    radii: Tensor
    softness: Tensor


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles that show something, T of them, each with the rays of its P = 64 pixels."""

    picture: Tensor
    """[T] which picture."""
    row: Tensor
    """[T] in tiles."""
    column: Tensor
    """[T] in tiles."""
    nearest: Tensor
    """[T, K] the capsules that matter."""
    rays: Tensor
    """[T, 3, P] unit vectors in camera axes."""
    eye: Tensor
    """[T, 3, 1] the camera's place, from the wrist."""


@dataclass(frozen=True, eq=False)
class Surface:
    """What the rays of a set of tiles met."""

    points: Tensor
    """[T, 3, P] mm from the wrist, camera axes."""
    cover: Tensor
    """[T, P] how much of the pixel is covered, 0 to 1."""
    normals: Tensor
    """[T, 3, P] unit vectors out of the surface."""
    shares: Tensor
    """[T, K, P] each capsule's share of the surface; sums to 1."""


def find_tiles(capsules: Capsules, wrist_mm: Tensor, intrinsics: Tensor, size: int) -> tuple[Tiles, ...]:
    """The tiles of N square pictures that capsules reach: those where few are near, and the crowded ones.

    ``wrist_mm`` is [N, 3], ``intrinsics`` [N, 3, 3].
    """
    focal, middle = intrinsics[:, None, 0, 0], intrinsics[:, None, :2, 2]
    ends = torch.stack([capsules.start, capsules.end], dim=2) + wrist_mm[:, None, None]
    depth = ends[..., 2].clamp(min=80.0)
    places = ends[..., :2] / depth[..., None] * focal[..., None, None] + middle[:, :, None]
    reach = (capsules.radii + _REACH_MM) / depth * focal[..., None] * 1.03
    centres = (torch.arange(size // TILE) + 0.5) * TILE
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    centre = torch.stack([x, y], dim=-1).reshape(1, -1, 1, 2)
    start, way = places[:, None, :, 0], (places[..., 1, :] - places[..., 0, :])[:, None]
    along = (((centre - start) * way).sum(-1) / (way * way).sum(-1).clamp(min=1e-6)).clamp(0, 1)
    away = (centre - start - along[..., None] * way).square().sum(-1).sqrt()
    away -= reach[:, None, :, 0] + along * (reach[..., 1] - reach[..., 0])[:, None]
    away -= TILE * 0.7072
    near, nearest = away.topk(_NEAREST[1], dim=-1, largest=False)
    slack = (_REACH_MM - _SWELL_MM) / wrist_mm[:, 2:] * intrinsics[:, 0, :1]
    occupied, crowded = near[..., 0] < -slack, near[..., _NEAREST[0]] < 0
    groups = ((occupied & ~crowded, _NEAREST[0]), (occupied & crowded, _NEAREST[1]))
    return tuple(_cut_tiles(which, nearest[..., :count], wrist_mm, intrinsics) for which, count in groups)


def _cut_tiles(which: Tensor, nearest: Tensor, wrist_mm: Tensor, intrinsics: Tensor) -> Tiles:
    """The tiles ``which`` [N, tiles] says, with the rays of their pixels."""
    picture, tile = torch.nonzero(which, as_tuple=True)
    across = round(which.shape[1] ** 0.5)
    row, column = tile // across, tile % across
    inside = torch.arange(TILE) + 0.5
    x = (column[:, None] * TILE + inside)[:, None, :].expand(-1, TILE, -1)
    y = (row[:, None] * TILE + inside)[:, :, None].expand(-1, -1, TILE)
    pixels = torch.stack([x, y], dim=1).reshape(-1, 2, TILE * TILE)
    slopes = (pixels - intrinsics[picture, :2, 2, None]) / intrinsics[picture, 0, 0, None, None]
    rays = unit(torch.cat([slopes, torch.ones_like(slopes[:, :1])], dim=1))
    return Tiles(picture, row, column, nearest[picture, tile], rays, -wrist_mm[picture, :, None])


class Field:
    """The soft capsules that a few tiles look at."""

    def __init__(self, capsules: Capsules, picture: Tensor, nearest: Tensor) -> None:
        chosen = (picture[:, None], nearest)
        self.start = capsules.start[chosen]
        way = capsules.end[chosen] - self.start
        self.length = way.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-3)
        self.axis = way / self.length
        radii = capsules.radii[chosen]
        self.radius = radii[..., :1]
        self.taper = (radii[..., 1:] - radii[..., :1]) / self.length
        self.stiffness = 1 / capsules.softness[nearest][..., None]
        self.stiff_radius = self.radius * self.stiffness
        self.stiff_taper = self.taper * self.stiffness
        zeros, ones = torch.zeros_like(self.radius), torch.ones_like(self.radius)
        # Both dot products of a point [x, y, z, 1, |p|^2] with every capsule, in one multiplication.
        along = torch.cat([self.axis, -(self.axis * self.start).sum(-1, keepdim=True), zeros], dim=-1)
        square = torch.cat([-2 * self.start, (self.start**2).sum(-1, keepdim=True), ones], dim=-1)
        self.products = torch.cat([along, square], dim=1)
        self.sums = torch.cat([ones, self.stiffness], dim=-1).transpose(1, 2).contiguous()

    def select(self, which: Tensor) -> "Field":
        """The field of some of the tiles: ``which`` [T] is a mask."""
        some = copy(self)
        vars(some).update({name: tensor[which] for name, tensor in vars(self).items()})
        return some

    def weigh(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For points [T, 3, P]: exp(-d_i / s_i), distance to the axes, place along them; all [T, K, P]."""
        extended = torch.cat(
            [points, torch.ones_like(points[:, :1]), (points * points).sum(1, keepdim=True)], dim=1
        )
        along, square = torch.bmm(self.products, extended).chunk(2, dim=1)
        place = torch.minimum(along.clamp(min=0), self.length)
        square.addcmul_(place, place).addcmul_(place, along, value=-2)
        distance = square.clamp_(min=1e-4).sqrt_()
        inside = torch.addcmul(self.stiff_radius, place, self.stiff_taper)
        # Bounded so that no weight is a subnormal number: processors are slow with them.
        inside.addcmul_(distance, self.stiffness, value=-1).clamp_(min=-60, max=60)
        return inside.exp_(), distance, place

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance [T, P] in mm of points [T, 3, P] to the surface, nearly; negative inside."""
        weights, _, _ = self.weigh(points)
        total, stiff = torch.bmm(self.sums, weights).unbind(dim=1)
        return -torch.log(total + _TINY) * (total + _TINY) / (stiff + _TINY)

    def first_guess(self, rays: Tensor, eye: Tensor) -> Tensor:
        """How far [T, P] each ray goes to the nearest bare capsule (or past the one it all but touches)."""
        start = self.start - eye.transpose(1, 2)
        towards, along = torch.bmm(start, rays), torch.bmm(self.axis, rays)
        offset = (start * self.axis).sum(-1, keepdim=True)
        place = torch.addcmul(-offset, towards, along)
        place.div_((along * along).neg_().add_(1.001)).clamp_(min=0)
        place = torch.minimum(place, self.length)
        far = torch.addcmul(towards, place, along)
        square = (2 * offset + place).mul_(place).add_((start**2).sum(-1, keepdim=True))
        square.addcmul_(far, far, value=-1)
        radius = torch.addcmul(self.radius, self.taper, place)
        entry = far.sub_((radius * radius.abs()).sub_(square).clamp_(min=0).sqrt_())
        miss = square.clamp_(min=0).sqrt_().sub_(radius).clamp_(min=0).mul_(40)
        # Where every capsule is missed, the walk begins beside the one that is missed most narrowly.
        return entry.add_(miss).amin(dim=1) - miss.amin(dim=1)


def march_rays(capsules: Capsules, tiles: Tiles, focal: Tensor) -> tuple[Field, Surface]:
    """Follow the tiles' rays to the surface, in the field returned with it; ``focal`` [T] is in pixels."""
    field = Field(capsules, tiles.picture, tiles.nearest)
    rays, eye = tiles.rays, tiles.eye
    reached = field.first_guess(rays, eye)
    behind = reached.amax(dim=1, keepdim=True) + _BEHIND_MM
    best, far = torch.full_like(reached, 1e3), reached.clone()
    active, active_field = torch.arange(len(rays)), field
    for steps in _STEPS:
        best[active], far[active], reached[active] = _walk(
            active_field, rays[active], eye[active], reached[active], best[active], far[active], steps
        )
        unfinished = (best[active] > _ARRIVED_MM) & (reached[active] < behind[active])
        on = unfinished.any(dim=1)
        active, active_field = active[on], active_field.select(on)
    points = eye + rays * far[:, None]
    pixel_mm = far / focal[:, None]
    weights, distance, place = field.weigh(points)
    pull = weights * field.stiffness / distance
    normals = points * pull.sum(1, keepdim=True)
    normals -= torch.bmm(field.start.transpose(1, 2), pull)
    normals -= torch.bmm(field.axis.transpose(1, 2), pull * place)
    shares = weights / (weights.sum(1, keepdim=True) + _TINY)
    cover = (1 - best / pixel_mm).clamp(0, 1)
    return field, Surface(points, cover, unit(normals), shares)


def _walk(
    field: Field, rays: Tensor, eye: Tensor, reached: Tensor, best: Tensor, far: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Walk on from ``reached``; returns the least distance so far, where it was, and where the rays are."""
    for _ in range(steps):
        distance = field.distance(eye + rays * reached[:, None])
        closer = distance < best
        far = torch.where(closer, reached, far)
        best = torch.where(closer, distance, best)
        # The little extra moves rays past the edges that they only graze.
        reached = reached + distance + 0.5 * (distance > _ARRIVED_MM)
    return best, far, reached


def unit(vectors: Tensor) -> Tensor:
    """Vectors [T, 3, P] brought to length 1."""
    x, y, z = vectors.unbind(1)
    return vectors / (x * x + y * y + z * z).sqrt_().clamp_(min=1e-12)[:, None]


def to_tensor(array: NDArray[np.floating]) -> Tensor:
    """A float32 copy on the CPU."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

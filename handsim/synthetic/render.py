"""Rendering pictures of hands: geometry in, pixels out. Only what is imported from here needs torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from handsim.synthetic.background import paint_background, pan
from handsim.synthetic.camera import project
from handsim.synthetic.config import Floats
from handsim.synthetic.hand_model import HandShape, Posture
from handsim.synthetic.ray_march import (
    TILE,
    Capsules,
    Field,
    Surface,
    Tiles,
    find_tiles,
    march_rays,
    to_tensor,
    unit,
)
from handsim.synthetic.scene import Scene
from handsim.synthetic.surface import (
    CLOTH,
    OCCLUDER,
    SKIN,
    Body,
    Marks,
    build_body,
    find_marks,
    linear,
    skin_colour,
)
from handsim.synthetic.video import Video

_TILES_AT_ONCE: Final = 384
"""How many tiles are ray-marched together: few enough for the caches."""
_VISIBLE_RADII: Final = 1.6
"""A joint is visible when the surface before it is within this many radii of the hand there."""
_WRIST_RADIUS_MM: Final = 20.0


@dataclass(frozen=True, eq=False)
class Pictures:
    """N rendered crops."""

    images: NDArray[np.uint8]
    """[N, S, S, 3] RGB."""
    depth_mm: NDArray[np.float32]
    """[N, S, S] z of the surface in the camera frame; infinite where there is only background."""
    skin: NDArray[np.float32]
    """[N, S, S] 0 to 1: how much of each pixel is bare skin of the hand or arm."""


def render(
    video: Video,
    scene: Scene,
    posture: Posture,
    intrinsics: Floats,
    frames: slice,
    size_px: int,
    grain: tuple[int, ...],
) -> Pictures:
    """Render ``frames`` of a video.

    ``posture`` holds those frames' hands in the hand frame, ``intrinsics`` [N, 3, 3] their crops' K for
    crops of ``size_px``. Nothing depends on which other frames are rendered together.
    """
    rotation, wrist = video.view.rotation[frames], video.view.wrist_mm[frames]
    body = build_body(posture, video.person.shape, scene, frames)
    capsules, pads = _to_camera(body, rotation, scene, frames)
    marks = find_marks(posture, video.person, rotation)
    groups = find_tiles(capsules, to_tensor(wrist), to_tensor(intrinsics), size_px)
    layers = torch.zeros(len(wrist), size_px // TILE, size_px // TILE, TILE * TILE, 6)
    layers[..., 5] = torch.inf
    material = torch.from_numpy(np.append(body.material, OCCLUDER))
    focal = to_tensor(intrinsics[:, 0, 0])
    for some in (part for tiles in groups for part in _parts(tiles)):
        field, surface = march_rays(capsules, some, focal[some.picture])
        colour, bare = _shade(video, scene, marks, some, field, surface, pads, material)
        depth = surface.points[:, 2] - some.eye[:, 2]
        depth = depth.masked_fill(surface.cover < 0.5, torch.inf)
        channels = torch.cat(
            [colour, torch.stack([surface.cover, bare * surface.cover, depth], dim=1)], dim=1
        )
        layers[some.picture, some.row, some.column] = channels.transpose(1, 2)
    flat = layers.reshape(len(wrist), size_px // TILE, size_px // TILE, TILE, TILE, 6)
    flat = flat.permute(0, 5, 1, 3, 2, 4).reshape(len(wrist), 6, size_px, size_px)
    images = _composite(flat[:, :3], flat[:, 3:4], scene, frames, size_px, grain)
    return Pictures(images, flat[:, 5].numpy(), flat[:, 4].numpy())


def find_visible_joints(
    pictures: Pictures, joints_mm: Floats, intrinsics: Floats, shape: HandShape
) -> NDArray[np.bool_]:
    """Which joints [N, 21] nothing hides; ``joints_mm`` [N, 21, 3] in the camera frame."""
    size = pictures.depth_mm.shape[-1]
    pixels = np.clip(np.floor(project(joints_mm, intrinsics)).astype(int), 0, size - 1)
    depth = pictures.depth_mm[np.arange(len(joints_mm))[:, None], pixels[..., 1], pixels[..., 0]]
    radii = np.append(_WRIST_RADIUS_MM * shape.scale * shape.thickness, shape.radii_mm)
    nearest = joints_mm[..., 2] - _VISIBLE_RADII * radii
    visible: NDArray[np.bool_] = depth > nearest
    return visible


def _to_camera(body: Body, rotation: Floats, scene: Scene, frames: slice) -> tuple[Capsules, Tensor]:
    """The body in camera axes, a passing object added as the last capsule; and its pads [N, K, 3]."""
    turn = rotation.swapaxes(-1, -2)
    start, end, pads = body.start @ turn, body.end @ turn, body.pads @ turn
    radii, softness, occluder = body.radii, body.softness, scene.occluder
    if occluder is not None and not occluder.in_hand:
        start = np.concatenate([start, occluder.start[frames, None]], axis=1)
        end = np.concatenate([end, occluder.end[frames, None]], axis=1)
        radii = np.concatenate([radii, np.tile(occluder.radii_mm, (len(start), 1, 1))], axis=1)
        pads = np.concatenate([pads, np.zeros((len(start), 1, 3))], axis=1)
        softness = np.append(softness, 0.25)
    capsules = Capsules(to_tensor(start), to_tensor(end), to_tensor(radii), to_tensor(softness))
    return capsules, to_tensor(pads)


def _parts(tiles: Tiles) -> Iterator[Tiles]:
    for first in range(0, len(tiles.picture), _TILES_AT_ONCE):
        some = slice(first, first + _TILES_AT_ONCE)
        yield Tiles(**{name: getattr(tiles, name)[some] for name in Tiles.__dataclass_fields__})


def _shade(
    video: Video,
    scene: Scene,
    marks: Marks,
    tiles: Tiles,
    field: Field,
    surface: Surface,
    pads: Tensor,
    material: Tensor,
) -> tuple[Tensor, Tensor]:
    """sRGB colour [T, 3, P] of a surface and how much of it is bare skin [T, P]."""
    points, normals = surface.points, surface.normals
    chosen = material[tiles.nearest]
    kinds = torch.stack([chosen == kind for kind in (SKIN, CLOTH, OCCLUDER)], dim=1).float()
    bare, cloth, object_share = torch.bmm(kinds, surface.shares).unbind(1)
    flesh_pads = torch.bmm(pads[tiles.picture[:, None], tiles.nearest].transpose(1, 2), surface.shares)
    colour, shine = skin_colour(video.person, marks, tiles, points, normals, flesh_pads)
    place = torch.bmm(marks.to_hand[tiles.picture], points)
    stripe = torch.sigmoid(6 * (place[:, 1] * (np.pi / scene.cloth_stripe_mm)).sin())[:, None]
    cloths, things = to_tensor(linear(scene.cloth)), to_tensor(linear(scene.occluder_colours))
    woven = 1 + 0.12 * (place[:, 0] * 2.1).sin() * (place[:, 1] * 2.1).sin()
    cloth_colour = (cloths[0, :, None] * stripe + cloths[1, :, None] * (1 - stripe)) * woven[:, None]
    band = torch.sigmoid(4 * (place[:, 0] * 0.11).sin())[:, None]
    occluder_colour = things[0, :, None] * band + things[1, :, None] * (1 - band)
    colour = bare[:, None] * colour + cloth[:, None] * cloth_colour + object_share[:, None] * occluder_colour
    shine = scene.gloss * (bare * shine + 0.1 * cloth + 2.0 * object_share)
    lit = _light(scene, field, surface, tiles.rays, colour, shine, bare)
    # Bright skin fades into white as on film, instead of being cut off.
    return (1.2 * lit / (1 + 0.35 * lit)).clamp(0, 1).pow(1 / 2.2), bare


def _light(
    scene: Scene, field: Field, surface: Surface, rays: Tensor, colour: Tensor, shine: Tensor, bare: Tensor
) -> Tensor:
    """Linear light [T, 3, P] that the surface sends to the camera."""
    points, normals = surface.points, surface.normals
    light = to_tensor(scene.light)[None, :, None]
    # What stands close over the surface takes light from it, and so does what stands towards the lamp.
    near = field.distance(points + 5 * normals) / 5
    far = field.distance(points + 16 * normals) / 16
    openness = (0.25 + 0.4 * near.clamp(0, 1) + 0.35 * far.clamp(0, 1))[:, None]
    shadow = (field.distance(points + 2 * normals + 14 * light) / 6).clamp(0, 1)
    facing = (normals * light).sum(1)
    # Light that went through skin comes out red around the shadow's edge.
    wrap = torch.tensor([0.32, 0.14, 0.10])[None, :, None] * bare[:, None]
    diffuse = ((facing[:, None] + wrap) / (1 + wrap)).clamp(min=0) * (0.12 + 0.88 * shadow[:, None])
    upward = 0.5 - 0.5 * normals[:, 1:2]
    sky, ground = to_tensor(scene.sky)[None, :, None], to_tensor(scene.ground)[None, :, None]
    ambient = (ground + (sky - ground) * upward) * openness
    halfway = unit(light - rays)
    glint = (normals * halfway).sum(1).clamp(min=0).pow(24) * shine * shadow
    strength = to_tensor(scene.light_colour)[None, :, None]
    return colour * (ambient + diffuse * strength) + glint[:, None] * strength


def _composite(
    colour: Tensor, cover: Tensor, scene: Scene, frames: slice, size_px: int, grain: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Put the hand before its background, add the lens's blur and the sensor's noise: uint8 [N, S, S, 3]."""
    behind = pan(
        paint_background(np.random.default_rng(grain), scene, size_px), scene.pan_px[frames], size_px
    )
    picture = behind * (1 - 0.3 * _cast_shadow(cover, scene, size_px)) * (1 - cover) + colour * cover
    picture = _blur(_blur(picture, scene.blur_px, 2), scene.blur_px, 3)
    numbers = range(*frames.indices(len(scene.pan_px)))
    for image, frame in zip(picture, numbers, strict=True):
        rng = np.random.default_rng((*grain, 1 + frame))
        noise = rng.standard_normal(image.shape[1:], dtype=np.float32)
        image.add_(torch.from_numpy(noise), alpha=scene.noise)
    return (picture.clamp_(0, 1) * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _cast_shadow(cover: Tensor, scene: Scene, size_px: int) -> Tensor:
    """The soft shadow [N, 1, S, S] of the hand on what is behind it."""
    eighth = functional.avg_pool2d(cover, 8)
    soft = functional.avg_pool2d(eighth, 3, stride=1, padding=1)
    soft = functional.interpolate(soft, scale_factor=8, mode="bilinear")
    down, aside = size_px // 16, int(size_px / 16 * scene.light[0])
    padded = functional.pad(soft, (down, down, down, 0), mode="replicate")
    return padded[..., :size_px, down + aside : down + aside + size_px]


def _blur(picture: Tensor, sigma_px: float, dim: int) -> Tensor:
    """Blur [N, 3, S, S] along one axis by a Gaussian of three taps."""
    side = float(np.exp(-0.5 / max(sigma_px, 0.05) ** 2))
    size = picture.shape[dim]
    before = torch.cat([picture.narrow(dim, 0, 1), picture.narrow(dim, 0, size - 1)], dim=dim)
    after = torch.cat([picture.narrow(dim, 1, size - 1), picture.narrow(dim, size - 1, 1)], dim=dim)
    return (picture + (before + after).mul_(side)).mul_(1 / (1 + 2 * side))

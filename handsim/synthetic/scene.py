"""What is around a hand: light, sleeve, things held or passing by, the room behind.

Rooms, walls, tables and gardens, roughly: textured pictures to put behind a hand.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from handsim.synthetic.config import SceneConfig

Floats = NDArray[np.float64]

BARE_MM: Final = 1e4
"""A sleeve that begins this far from the wrist is none."""


@dataclass(frozen=True, eq=False)
class Thing:
    """A rod, bottle, ball or stick: a tapered capsule, in the hand's frame or the camera's."""

    start: Floats
    """[frames, 3] mm: centre of one end."""
    end: Floats
    """[frames, 3] mm: centre of the other."""
    radii_mm: Floats
    """[2] at the ends."""
    held: bool
    """In the hand frame (it moves with the hand), or else relative to the wrist in the camera frame."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What is around the hand of one video. Colours are sRGB, 0 to 1."""

    light: Floats
    """[3] unit vector towards the main light, camera frame."""
    light_colour: Floats
    """[3] its colour times its strength."""
    sky: Floats
    """[3] the light from above."""
    ground: Floats
    """[3] the light thrown back from below."""
    gloss: float
    """How much the skin shines."""
    sleeve_from_mm: float
    """Where the sleeve begins, from the wrist along the forearm; `BARE_MM` for a bare arm."""
    cloth: Floats
    """[2, 3] the sleeve's two colours."""
    cloth_stripe_mm: float
    """Width of the sleeve's stripes."""
    thing: Thing | None
    """What the hand holds or what passes before it."""
    thing_colours: Floats
    """[2, 3]."""
    background: str
    """One of `config.BACKGROUNDS`."""
    pan_px: Floats
    """[frames, 2] how the background moves behind the hand, as a part of the crop's side."""
    blur_px: float
    """Standard deviation of the lens's blur."""
    noise: float
    """Standard deviation of the sensor's noise."""


def sample_scene(
    rng: np.random.Generator, config: SceneConfig, frames: int, *, holding: bool, scale: float
) -> Scene:
    """Draw the scene of a video; ``holding`` puts a thing into the hand, ``scale`` is the hand's size."""
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 1.0)
    light = np.array([np.cos(azimuth), -height, -abs(np.sin(azimuth)) - 0.25])
    warmth = np.array([1.0, 0.96, 0.90]) ** rng.uniform(-1.0, 2.5)
    ambient = rng.uniform(*config.ambient_light)
    sleeved = rng.random() < config.sleeve_share
    thing: Thing | None = None
    if holding:
        thing = _held(rng, frames, scale)
    elif rng.random() < config.passing_share:
        thing = _passing(rng, frames, scale)
    cloth = sample_colours(rng, 2)
    if rng.random() < 0.6:
        cloth[1] = cloth[0]
    return Scene(
        light=light / np.linalg.norm(light),
        light_colour=rng.uniform(*config.key_light) * warmth,
        sky=ambient * np.array([0.94, 1.0, 1.05]),
        ground=0.6 * ambient * np.array([1.06, 1.0, 0.92]),
        gloss=rng.uniform(0.05, 0.3),
        sleeve_from_mm=rng.uniform(-4, 70) if sleeved else BARE_MM,
        cloth=cloth,
        cloth_stripe_mm=rng.uniform(4, 18),
        thing=thing,
        thing_colours=sample_colours(rng, 2),
        background=config.backgrounds[rng.integers(len(config.backgrounds))],
        pan_px=_pan(rng, frames),
        blur_px=rng.uniform(*config.blur_px),
        noise=rng.uniform(*config.noise),
    )


def sample_colours(rng: np.random.Generator, count: int) -> Floats:
    """Colours [count, 3] as things and rooms have them: mostly muted, some vivid."""
    grey = rng.uniform(0.04, 0.92, (count, 1))
    vivid = rng.uniform(0.0, 1.0, (count, 3))
    colours: Floats = grey + (vivid - grey) * rng.beta(1.0, 3.0, (count, 1))
    return colours


def _pan(rng: np.random.Generator, frames: int) -> Floats:
    """A slow straight drift with an unsteady hand: [frames, 2], within 0 to 1."""
    start, end = rng.uniform(0.1, 0.9, (2, 2))
    steady = np.linspace(0, 1, frames)[:, None]
    places: Floats = start + (end - start) * steady + 0.01 * rng.standard_normal((frames, 2))
    return places.clip(0, 1)


def _held(rng: np.random.Generator, frames: int, scale: float) -> Thing:
    """Something in the grip, between palm and curled fingers."""
    radius = rng.uniform(8, 25) * scale
    tilt = np.radians(rng.normal(15, 18))
    axis = np.array([np.cos(tilt), np.sin(tilt), 0.1 * rng.standard_normal()])
    centre = np.array([4, 76, 13]) * scale + np.array([0, 0, radius])
    reach = rng.uniform(0.0, 110, 2) * scale
    start, end = centre - axis * reach[0], centre + axis * reach[1]
    radii = radius * np.array([1.0, rng.choice([1.0, 1.0, rng.uniform(0.4, 1.0)])])
    return Thing(np.tile(start, (frames, 1)), np.tile(end, (frames, 1)), radii, held=True)


def _passing(rng: np.random.Generator, frames: int, scale: float) -> Thing:
    """Something between camera and hand that moves across slowly."""
    angle = rng.uniform(0, np.pi)
    axis = np.array([np.cos(angle), np.sin(angle), 0.3 * rng.standard_normal()])
    start, end = rng.uniform(-130, 130, (2, 3)) * scale
    place = start + (end - start) * np.linspace(0, 1, frames)[:, None]
    place[:, 2] = -rng.uniform(90, 130) * scale
    half = rng.uniform(5, 120) * scale
    radii = np.full(2, rng.uniform(4, 20) * scale)
    return Thing(place - axis * half, place + axis * half, radii, held=False)


WIDER: Final = 1.5
"""The background is this much wider than the crop, so that it can move behind the hand."""


def paint_background(rng: np.random.Generator, scene: Scene, size_px: int) -> Tensor:
    """A background float32 [3, W, W], sRGB 0 to 1, with W = 1.5 ``size_px``, lit roughly as the scene is."""
    width = int(size_px * WIDER)
    painted = {
        "wall": _wall,
        "blurred": _blurred,
        "clutter": _clutter,
        "boards": _boards,
        "foliage": _foliage,
    }[scene.background](rng, width)
    exposure = 0.55 + 0.35 * float(scene.light_colour.mean() + scene.sky.mean()) / 1.4
    return (painted * exposure).clamp_(0, 1)


def pan(background: Tensor, places: NDArray[np.float64], size_px: int) -> Tensor:
    """Cut crops [N, 3, size_px, size_px] at ``places`` [N, 2] (0 to 1 of the room there is)."""
    room = background.shape[-1] - size_px
    corners = np.rint(places * room).astype(int)
    return torch.stack([background[:, y : y + size_px, x : x + size_px] for x, y in corners])


def _noise(rng: np.random.Generator, cells: int, width: int, channels: int = 1) -> Tensor:
    """Smooth noise [channels, width, width] of mean 0 with about ``cells`` hills across."""
    grid = torch.from_numpy(rng.standard_normal((1, channels, cells + 3, cells + 3), dtype=np.float32))
    smooth = functional.interpolate(grid, size=(width, width), mode="bicubic", align_corners=True)
    return smooth[0]


def _octaves(rng: np.random.Generator, cells: int, width: int, count: int, channels: int = 1) -> Tensor:
    """Noise whose finer hills are lower."""
    total = torch.zeros(channels, width, width)
    for octave in range(count):
        total += _noise(rng, cells * 2**octave, width, channels) * 0.6**octave
    return total


def _colours(rng: np.random.Generator, count: int) -> Tensor:
    return torch.from_numpy(sample_colours(rng, count).astype(np.float32))[:, :, None, None]


def _grid(width: int) -> tuple[Tensor, Tensor]:
    """x and y [width, width], from -1 to 1."""
    line = torch.linspace(-1, 1, width)
    return line[None, :].expand(width, width), line[:, None].expand(width, width)


def _wall(rng: np.random.Generator, width: int) -> Tensor:
    """A wall or a sheet: nearly one colour, unevenly lit, a little rough."""
    first, second = _colours(rng, 2)
    x, y = _grid(width)
    angle = float(rng.uniform(0, 2 * np.pi))
    slope = 0.5 + 0.5 * (math.cos(angle) * x + math.sin(angle) * y)
    tinted = first * (1 - 0.3 * slope) + second * 0.3 * slope
    rough: Tensor = tinted + 0.02 * _octaves(rng, 20, width, 2) + 0.05 * _noise(rng, 2, width)
    return rough


def _blurred(rng: np.random.Generator, width: int) -> Tensor:
    """A room far out of focus."""
    blobs = _octaves(rng, int(rng.integers(2, 5)), width, 2, channels=3)
    return _colours(rng, 1)[0] + rng.uniform(0.05, 0.14) * (0.3 * blobs + 0.7 * _octaves(rng, 3, width, 3))


def _clutter(rng: np.random.Generator, width: int) -> Tensor:
    """Things on a table: boxes, discs and rods of many colours, one before the other."""
    canvas = _wall(rng, width)
    x, y = _grid(width)
    count = int(rng.integers(8, 18))
    colours = _colours(rng, count)
    for colour in colours:
        across, down = rng.uniform(-1.1, 1.1, 2)
        angle, soft = rng.uniform(0, np.pi), rng.uniform(0.01, 0.05)
        half = np.exp(rng.uniform(np.log(0.05), np.log(0.6), 2))
        right = (math.cos(angle) * (x - across) + math.sin(angle) * (y - down)) / half[0]
        up = (math.cos(angle) * (y - down) - math.sin(angle) * (x - across)) / half[1]
        inside = (
            1 - (right**2 + up**2).sqrt() if rng.random() < 0.4 else 1 - torch.maximum(right.abs(), up.abs())
        )
        cover = (inside / soft * float(half.min())).clamp(0, 1)
        canvas = canvas * (1 - cover) + cover * colour * (0.85 + 0.25 * up.clamp(-1, 1) * rng.uniform(-1, 1))
    return canvas + 0.015 * _octaves(rng, 24, width, 2)


def _boards(rng: np.random.Generator, width: int) -> Tensor:
    """Planks, tiles, stripes: straight lines at some angle, with grain along them."""
    first, second = _colours(rng, 2)
    x, y = _grid(width)
    angle = float(rng.uniform(0, np.pi))
    across = math.cos(angle) * x + math.sin(angle) * y
    along = math.cos(angle) * y - math.sin(angle) * x
    count = float(rng.uniform(1.5, 7))
    board = torch.floor(across * count)
    tone = torch.sin(board * 12.9898 + float(rng.uniform(0, 6))) * 0.5 + 0.5
    seam = ((across * count - board - 0.5).abs() * 2) ** 24
    if rng.random() < 0.4:
        seam = torch.maximum(seam, ((along * count - torch.floor(along * count) - 0.5).abs() * 2) ** 24)
    grain = torch.sin(across * 60 + 3 * _noise(rng, 4, width)[0]) * 0.03 + 0.05 * _noise(rng, 12, width)[0]
    mixed = first + (second - first) * tone * float(rng.uniform(0.1, 0.6))
    boards: Tensor = (mixed + grain) * (1 - 0.5 * seam)
    return boards


def _foliage(rng: np.random.Generator, width: int) -> Tensor:
    """Leaves, cloth with a print, gravel: busy at every scale."""
    shades = _octaves(rng, int(rng.integers(4, 12)), width, 4)
    levels = (shades * float(rng.uniform(0.6, 1.6))).sin() * 0.5 + 0.5
    dark, light, other = _colours(rng, 3)
    patches = (_noise(rng, 5, width) * 4).sigmoid()
    leaves: Tensor = dark * 0.6 + levels * (light * (1 - patches) + other * patches) * 0.6
    return leaves

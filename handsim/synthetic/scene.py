"""What is around a hand: light, sleeve, an object in the hand or before it, and the kind of background."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from handsim.synthetic.config import Floats, SceneConfig

BARE_MM: Final = 1e4
"""A bare arm is one whose sleeve begins this far from the wrist."""


@dataclass(frozen=True, eq=False)
class Occluder:
    """A rod, bottle, ball or stick in the hand or before it: a tapered capsule."""

    start: Floats
    """[frames, 3] mm: centre of one end."""
    end: Floats
    """[frames, 3] mm: centre of the other."""
    radii_mm: Floats
    """[2] at the ends."""
    in_hand: bool
    """In the hand frame (it moves with the hand), or else in camera axes from the wrist."""


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
    sleeve_from_mm: float
    """Where the sleeve begins, from the wrist along the forearm; `BARE_MM` for a bare arm."""
    cloth: Floats
    """[2, 3] the sleeve's two colours."""
    cloth_stripe_mm: float
    occluder: Occluder | None
    occluder_colours: Floats
    """[2, 3]."""
    background: str
    """One of `config.BACKGROUNDS`."""
    pan_px: Floats
    """[frames, 2] how the background moves behind the hand, as a part of the crop's side."""
    blur_px: float
    noise: float


def sample_scene(
    rng: np.random.Generator, config: SceneConfig, frames: int, *, holding: bool, scale: float
) -> Scene:
    """Draw the scene of a video; ``holding`` puts an object into the hand, ``scale`` is the hand's size."""
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 1.0)
    light = np.array([np.cos(azimuth), -height, -abs(np.sin(azimuth)) - 0.25])
    warmth = np.array([1.0, 0.96, 0.90]) ** rng.uniform(-1.0, 2.5)
    ambient = rng.uniform(*config.ambient_light)
    sleeved = rng.random() < config.sleeve_share
    occluder: Occluder | None = None
    if holding:
        occluder = _sample_in_hand(rng, frames, scale)
    elif rng.random() < config.passing_share:
        occluder = _sample_passing(rng, frames, scale)
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
        occluder=occluder,
        occluder_colours=sample_colours(rng, 2),
        background=config.backgrounds[rng.integers(len(config.backgrounds))],
        pan_px=_sample_pan(rng, frames),
        blur_px=rng.uniform(*config.blur_px),
        noise=rng.uniform(*config.noise),
    )


def sample_colours(rng: np.random.Generator, count: int) -> Floats:
    """Colours [count, 3] as objects and rooms have them: mostly muted, some vivid."""
    grey = rng.uniform(0.04, 0.92, (count, 1))
    vivid = rng.uniform(0.0, 1.0, (count, 3))
    colours: Floats = grey + (vivid - grey) * rng.beta(1.0, 3.0, (count, 1))
    return colours


def _sample_pan(rng: np.random.Generator, frames: int) -> Floats:
    """A slow straight drift with an unsteady hand: [frames, 2], within 0 to 1."""
    start, end = rng.uniform(0.1, 0.9, (2, 2))
    steady = np.linspace(0, 1, frames)[:, None]
    places: Floats = start + (end - start) * steady + 0.01 * rng.standard_normal((frames, 2))
    return places.clip(0, 1)


def _sample_in_hand(rng: np.random.Generator, frames: int, scale: float) -> Occluder:
    """Something in the grip, between palm and curled fingers."""
    radius = rng.uniform(8, 25) * scale
    tilt = np.radians(rng.normal(15, 18))
    axis = np.array([np.cos(tilt), np.sin(tilt), 0.1 * rng.standard_normal()])
    centre = np.array([4, 76, 13]) * scale + np.array([0, 0, radius])
    reach = rng.uniform(0.0, 110, 2) * scale
    start, end = centre - axis * reach[0], centre + axis * reach[1]
    radii = radius * np.array([1.0, rng.choice([1.0, 1.0, rng.uniform(0.4, 1.0)])])
    return Occluder(np.tile(start, (frames, 1)), np.tile(end, (frames, 1)), radii, in_hand=True)


def _sample_passing(rng: np.random.Generator, frames: int, scale: float) -> Occluder:
    """Something between camera and hand that moves across slowly."""
    angle = rng.uniform(0, np.pi)
    axis = np.array([np.cos(angle), np.sin(angle), 0.3 * rng.standard_normal()])
    start, end = rng.uniform(-130, 130, (2, 3)) * scale
    place = start + (end - start) * np.linspace(0, 1, frames)[:, None]
    place[:, 2] = -rng.uniform(90, 130) * scale
    half = rng.uniform(5, 120) * scale
    radii = np.full(2, rng.uniform(4, 20) * scale)
    return Occluder(place - axis * half, place + axis * half, radii, in_hand=False)

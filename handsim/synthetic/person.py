"""A person: how long and how thick the hand's parts are, and the colour of its skin.

Bone lengths follow X-ray averages of adults (Buryanov and Kotiuk, 2010, with the carpus added to the
metacarpals and the soft fingertip to the last phalanx), varied as people vary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.synthetic.config import PeopleConfig

Floats = NDArray[np.float64]

MEAN_LENGTH_MM: Final = 186.0
"""Wrist to the tip of the middle finger of the hand described below."""
MCPS_MM: Final = np.array([[26.0, 89.0, 1.0], [5.5, 93.5, -2.0], [-14.5, 87.0, 0.0], [-32.0, 76.5, 4.0]])
THUMB_BASE_MM: Final = np.array([21.0, 20.0, 7.0])
OPPOSITION_MM: Final = np.array([-4.0, 80.0, 52.0])
PHALANGES_MM: Final = np.array(
    [[44.0, 32.5, 26.0], [41.0, 24.0, 20.5], [45.5, 27.5, 21.5], [42.0, 26.5, 21.5], [33.5, 19.5, 19.5]]
)
RADII_MM: Final = np.array(
    [
        [12.5, 10.4, 9.4, 7.4],
        [10.3, 9.3, 8.0, 6.5],
        [10.6, 9.5, 8.2, 6.6],
        [10.0, 8.9, 7.7, 6.3],
        [9.0, 7.8, 6.8, 5.6],
    ]
)
SKIN_TONES: Final = np.array(
    [
        [250, 217, 195],
        [238, 192, 165],
        [222, 168, 134],
        [196, 138, 103],
        [160, 105, 75],
        [122, 77, 54],
        [92, 58, 43],
        [66, 43, 34],
    ]
)
"""sRGB of skin, light to dark, as the tone goes from 0 to 1."""


@dataclass(frozen=True, eq=False)
class HandShape:
    """The bones and the flesh of one hand, or of N hands stacked along a leading axis."""

    mcps_mm: Floats
    """[4, 3] first knuckles, index to little finger, in the flat hand's frame (see `kinematics`)."""
    thumb_base_mm: Floats
    """[3] the thumb's carpometacarpal joint."""
    opposition_mm: Floats
    """[3] where thumb and fingers close on each other."""
    phalanges_mm: Floats
    """[5, 3] bone lengths: metacarpal, proximal, distal of the thumb; else proximal, middle, distal."""
    radii_mm: Floats
    """[5, 4] half the thickness at each finger's four joints."""
    scale: Floats
    """[] size relative to the average adult's hand: what is not listed here grows with it."""
    thickness: Floats
    """[] thickness relative to the hand's size."""


AVERAGE_SHAPE: Final = HandShape(
    MCPS_MM, THUMB_BASE_MM, OPPOSITION_MM, PHALANGES_MM, RADII_MM, np.asarray(1.0), np.asarray(1.0)
)
"""The average adult's hand."""


@dataclass(frozen=True, eq=False)
class Person:
    """Whose hand it is."""

    shape: HandShape
    """Lengths and widths."""
    skin: Floats
    """[3] sRGB, 0 to 1, of the back of the hand."""
    palm: Floats
    """[3] sRGB of the palm: lighter and redder, the more so the darker the back."""
    nail: Floats
    """[3] sRGB of the fingernails, varnished or not."""


def sample_person(rng: np.random.Generator, config: PeopleConfig) -> Person:
    """Draw a person."""
    mean, deviation = config.hand_length_mm
    child = rng.random() < config.child_share
    length = mean + deviation * np.clip(rng.standard_normal(), -2.5, 2.5)
    scale = length / MEAN_LENGTH_MM * (rng.uniform(0.70, 0.88) if child else 1.0)
    width, fingers = 1 + 0.05 * rng.standard_normal(), 1 + 0.035 * rng.standard_normal()
    thickness = np.clip((1.06 if child else 1.0) + 0.07 * rng.standard_normal(), 0.82, 1.22)
    own = 1 + 0.025 * np.clip(rng.standard_normal((5, 3)), -2.5, 2.5)
    shape = HandShape(
        mcps_mm=MCPS_MM * scale * [width, 1.0, 1.0],
        thumb_base_mm=THUMB_BASE_MM * scale * [width, 1.0, 1.0],
        opposition_mm=OPPOSITION_MM * scale,
        phalanges_mm=PHALANGES_MM * scale * fingers * own,
        radii_mm=RADII_MM * scale * thickness * np.sqrt(width),
        scale=np.asarray(scale),
        thickness=np.asarray(thickness),
    )
    skin, palm, nail = _sample_colours(rng, config)
    return Person(shape, skin, palm, nail)


def stack_shapes(shapes: Sequence[HandShape], repeats: int) -> HandShape:
    """Each shape ``repeats`` times in a row, stacked: N = len(shapes) * repeats."""
    fields = HandShape.__dataclass_fields__
    return HandShape(
        **{name: np.repeat([getattr(shape, name) for shape in shapes], repeats, axis=0) for name in fields}
    )


def _sample_colours(rng: np.random.Generator, config: PeopleConfig) -> tuple[Floats, Floats, Floats]:
    tone = rng.uniform(*config.tone)
    steps = np.linspace(0, 1, len(SKIN_TONES))
    skin = np.array([np.interp(tone, steps, SKIN_TONES[:, channel]) for channel in range(3)]) / 255
    skin = np.clip(skin * (1 + 0.05 * rng.standard_normal()) * (1 + 0.02 * rng.standard_normal(3)), 0.05, 1)
    palm = skin + (np.array([0.94, 0.72, 0.63]) - skin) * (0.30 + 0.25 * tone)
    nail = skin + (np.array([0.97, 0.80, 0.76]) - skin) * 0.45
    if rng.random() < 0.15:
        nail = rng.uniform(0.05, 0.95, 3)
    return skin, palm, nail

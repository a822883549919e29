"""The hand: its bones and colours, which vary from person to person, and its forward kinematics.

The hand frame of a **right** hand: origin at the wrist joint, x towards the thumb's side, y towards the
fingers, z out of the palm, in millimetres. Palm towards you and fingers up, that is x right, y up and z
towards you (the thumb is on your right): a right-handed frame. Flexing turns a finger from y towards z.

Bone lengths follow X-ray averages of adults (Buryanov and Kotiuk, 2010, with the carpus added to the
metacarpals and the soft fingertip to the last phalanx), varied as people vary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from handsim.skeleton import FINGER_JOINTS, FINGERS, JOINT_COUNT
from handsim.synthetic.config import Floats, PeopleConfig

_MEAN_LENGTH_MM: Final = 186.0
"""Wrist to the tip of the middle finger of the hand described below."""
MCPS_MM: Final = np.array([[26.0, 89.0, 1.0], [5.5, 93.5, -2.0], [-14.5, 87.0, 0.0], [-32.0, 76.5, 4.0]])
_THUMB_BASE_MM: Final = np.array([21.0, 20.0, 7.0])
_OPPOSITION_MM: Final = np.array([-4.0, 80.0, 52.0])
PHALANGES_MM: Final = np.array(
    [[44.0, 32.5, 26.0], [41.0, 24.0, 20.5], [45.5, 27.5, 21.5], [42.0, 26.5, 21.5], [33.5, 19.5, 19.5]]
)
_RADII_MM: Final = np.array(
    [
        [12.5, 10.4, 9.4, 7.4],
        [10.3, 9.3, 8.0, 6.5],
        [10.6, 9.5, 8.2, 6.6],
        [10.0, 8.9, 7.7, 6.3],
        [9.0, 7.8, 6.8, 5.6],
    ]
)
_SKIN_TONES: Final = np.array(
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
    """Lengths and thicknesses of one hand, or of N hands stacked along a leading axis."""

    mcps_mm: Floats
    """[4, 3] first knuckles, index to little finger, in the flat hand's frame (all angles 0)."""
    thumb_base_mm: Floats
    """[3] the thumb's carpometacarpal joint."""
    opposition_mm: Floats
    """[3] where thumb and fingers close on each other."""
    phalanges_mm: Floats
    """[5, 3] bone lengths: metacarpal, proximal, distal of the thumb; else proximal, middle, distal."""
    radii_mm: Floats
    """[5, 4] half the thickness at each finger's four joints."""
    scale: Floats
    """[] size relative to the average adult's hand; what is not listed here scales with it."""
    thickness: Floats
    """[] thickness relative to the hand's size."""


AVERAGE_SHAPE: Final = HandShape(
    MCPS_MM, _THUMB_BASE_MM, _OPPOSITION_MM, PHALANGES_MM, _RADII_MM, np.asarray(1.0), np.asarray(1.0)
)
"""The average adult's hand."""


@dataclass(frozen=True, eq=False)
class Person:
    """Whose hand it is."""

    shape: HandShape
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
    scale = length / _MEAN_LENGTH_MM * (rng.uniform(0.70, 0.88) if child else 1.0)
    width, fingers = 1 + 0.05 * rng.standard_normal(), 1 + 0.035 * rng.standard_normal()
    thickness = np.clip((1.06 if child else 1.0) + 0.07 * rng.standard_normal(), 0.82, 1.22)
    variation = 1 + 0.025 * np.clip(rng.standard_normal((5, 3)), -2.5, 2.5)
    shape = HandShape(
        mcps_mm=MCPS_MM * scale * [width, 1.0, 1.0],
        thumb_base_mm=_THUMB_BASE_MM * scale * [width, 1.0, 1.0],
        opposition_mm=_OPPOSITION_MM * scale,
        phalanges_mm=PHALANGES_MM * scale * fingers * variation,
        radii_mm=_RADII_MM * scale * thickness * np.sqrt(width),
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
    steps = np.linspace(0, 1, len(_SKIN_TONES))
    skin = np.array([np.interp(tone, steps, _SKIN_TONES[:, channel]) for channel in range(3)]) / 255
    skin = np.clip(skin * (1 + 0.05 * rng.standard_normal()) * (1 + 0.02 * rng.standard_normal(3)), 0.05, 1)
    palm = skin + (np.array([0.94, 0.72, 0.63]) - skin) * (0.30 + 0.25 * tone)
    nail = skin + (np.array([0.97, 0.80, 0.76]) - skin) * 0.45
    if rng.random() < 0.15:
        nail = rng.uniform(0.05, 0.95, 3)
    return skin, palm, nail


_LIMITS_DEG: Final[dict[str, tuple[float, float]]] = {
    **{
        f"{finger}_{angle}": limits
        for finger in FINGERS[1:]
        for angle, limits in {
            "spread": (-22.0, 22.0),
            "mcp": (-25.0, 92.0),
            "pip": (-5.0, 112.0),
            "dip": (-8.0, 80.0),
        }.items()
    },
    "thumb_out": (-25.0, 75.0),
    "thumb_lift": (-12.0, 75.0),
    "thumb_roll": (-35.0, 35.0),
    "thumb_mcp": (-12.0, 65.0),
    "thumb_ip": (-25.0, 85.0),
    "cup": (-3.0, 16.0),
    "wrist_bend": (-60.0, 60.0),
    "wrist_lean": (-22.0, 28.0),
}
"""Every joint angle's range of motion.

Of a finger, ``spread`` is positive towards the little finger's side, and ``mcp``, ``pip`` and ``dip`` are
flexions. Of the thumb, ``out`` is the angle of its metacarpal with y in the palm's plane and ``lift`` above
that plane, ``roll`` turns its pad, ``mcp`` and ``ip`` flex it. ``cup`` hollows the palm. ``wrist_bend``
flexes the hand towards the forearm's inner side and ``wrist_lean`` moves it towards the thumb's side.
"""

ANGLES: Final = tuple(_LIMITS_DEG)
ANGLE_INDEX: Final = {name: i for i, name in enumerate(ANGLES)}
LOWEST_DEG: Final = np.array([_LIMITS_DEG[name][0] for name in ANGLES])
HIGHEST_DEG: Final = np.array([_LIMITS_DEG[name][1] for name in ANGLES])

DIP_PER_PIP: Final = 0.62
"""The last joint of a finger follows the one before it: one tendon moves both."""
_SPLAY_DEG: Final = np.array([-5.0, 0.0, 4.0, 9.0])
"""How index to little finger point apart at spread 0."""
_CUP_SHARE: Final = np.array([0.0, 0.0, 0.5, 1.0])
"""How much of the cupping each metacarpal takes, index to little finger."""


@dataclass(frozen=True, eq=False)
class Posture:
    """The joints of N hands, in the hand frame."""

    joints_mm: Floats
    """[N, 21, 3]."""
    pads: Floats
    """[N, 21, 3] unit vectors: the palmar side of the bone that ends in each joint (wrist: of the palm)."""
    forearm: Floats
    """[N, 3] unit vectors from the wrist towards the elbow."""

    def __getitem__(self, which: slice) -> "Posture":
        return Posture(self.joints_mm[which], self.pads[which], self.forearm[which])


def clip_to_limits(angles_deg: Floats) -> Floats:
    """Clip angles [..., 24] to their ranges of motion."""
    return np.clip(angles_deg, LOWEST_DEG, HIGHEST_DEG)


def forward_kinematics(shape: HandShape, angles_deg: Floats) -> Posture:
    """Forward kinematics of N hands.

    ``shape`` holds one hand, or N of them (arrays with a leading N); ``angles_deg`` is [N, 24] in the order
    of `ANGLES`. Bone lengths do not depend on the angles.
    """
    angles = np.radians(angles_deg)
    count = len(angles)
    joints = np.zeros((count, JOINT_COUNT, 3))
    pads = np.zeros((count, JOINT_COUNT, 3))
    pads[..., 2] = 1.0
    _place_fingers(shape, angles, joints, pads)
    _place_thumb(shape, angles, joints, pads)
    wrist_bend, lean = angles[:, ANGLE_INDEX["wrist_bend"]], angles[:, ANGLE_INDEX["wrist_lean"]]
    forearm = np.stack(
        [np.sin(lean) * np.cos(wrist_bend), -np.cos(lean) * np.cos(wrist_bend), np.sin(wrist_bend)], axis=-1
    )
    return Posture(joints, pads, forearm)


def _place_fingers(shape: HandShape, angles: Floats, joints: Floats, pads: Floats) -> None:
    """Write the joints and pads of the four fingers."""
    spread, *flexions = angles[:, :16].reshape(-1, 4, 4).transpose(2, 0, 1)
    cup = angles[:, ANGLE_INDEX["cup"], None] * _CUP_SHARE
    direction = spread + np.radians(_SPLAY_DEG)
    mcps = np.broadcast_to(shape.mcps_mm, (len(angles), 4, 3))
    # Cupping turns a metacarpal about the wrist's x axis, so that its length stays.
    position = np.stack(
        [
            mcps[..., 0],
            mcps[..., 1] * np.cos(cup) - mcps[..., 2] * np.sin(cup),
            mcps[..., 1] * np.sin(cup) + mcps[..., 2] * np.cos(cup),
        ],
        axis=-1,
    )
    first = np.array([FINGER_JOINTS[finger][0] for finger in FINGERS[1:]])
    joints[:, first] = position
    flexion = cup
    for segment, more in enumerate(flexions):
        flexion = flexion + more
        along, aside = np.cos(flexion), np.sin(flexion)
        bone = np.stack([-np.sin(direction) * along, np.cos(direction) * along, aside], axis=-1)
        position = position + shape.phalanges_mm[..., 1:, segment, None] * bone
        joints[:, first + segment + 1] = position
        pads[:, first + segment + 1] = np.stack(
            [np.sin(direction) * aside, -np.cos(direction) * aside, along], axis=-1
        )


def _place_thumb(shape: HandShape, angles: Floats, joints: Floats, pads: Floats) -> None:
    """Write the joints and pads of the thumb."""
    out, lift, roll, mcp, ip = angles[:, 16:21].T
    metacarpal = np.stack([np.sin(out) * np.cos(lift), np.cos(out) * np.cos(lift), np.sin(lift)], axis=-1)
    base = np.broadcast_to(shape.thumb_base_mm, metacarpal.shape)
    knuckle = base + shape.phalanges_mm[..., 0, 0, None] * metacarpal
    # Opposition: wherever the thumb stands, its pad faces the place where the fingers close.
    facing = shape.opposition_mm - knuckle
    facing = facing - (facing * metacarpal).sum(-1, keepdims=True) * metacarpal
    facing = facing / np.linalg.norm(facing, axis=-1, keepdims=True)
    pad = np.cos(roll)[:, None] * facing + np.sin(roll)[:, None] * np.cross(metacarpal, facing)
    chain = FINGER_JOINTS["thumb"]
    joints[:, chain[0]], joints[:, chain[1]] = base, knuckle
    pads[:, chain[1]] = pad
    position = knuckle
    for segment, flexion in enumerate((mcp, mcp + ip), start=1):
        along, aside = np.cos(flexion)[:, None], np.sin(flexion)[:, None]
        position = position + shape.phalanges_mm[..., 0, segment, None] * (along * metacarpal + aside * pad)
        joints[:, chain[segment + 1]] = position
        pads[:, chain[segment + 1]] = along * pad - aside * metacarpal

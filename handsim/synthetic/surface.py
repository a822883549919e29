"""The surface of a hand: its body as tapered capsules that melt into each other, and the look of its skin.

Every capsule has its own softness: the muscles of the palm blend over millimetres, two fingers that touch
keep a sharp crease between them. Of the skin there are the palm's colour and lines, the folds at the joints,
and the nails.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.skeleton import FINGER_JOINTS, FINGERS, FINGERTIPS, PARENTS
from handsim.synthetic.config import Floats
from handsim.synthetic.hand_model import HandShape, Person, Posture
from handsim.synthetic.ray_march import TILE, Tiles, to_tensor
from handsim.synthetic.scene import Scene

SKIN, CLOTH, OCCLUDER = range(3)
_ABSENT_MM: Final = -1e5
"""The radius of a capsule that is not there."""
_TIP_INSET: Final = 0.5
"""How far the last capsule ends short of the fingertip joint, in its radii."""


@dataclass(frozen=True, eq=False)
class Body:
    """N bodies of K tapered capsules each; lengths in mm."""

    start: Floats
    """[N, K, 3] centre of one end."""
    end: Floats
    """[N, K, 3] centre of the other."""
    radii: Floats
    """[N, K, 2] at start and end."""
    softness: Floats
    """[K] how far a capsule reaches out to melt into others."""
    pads: Floats
    """[N, K, 3] unit vector out of the palmar side."""
    material: NDArray[np.int64]
    """[K] SKIN, CLOTH or OCCLUDER."""


class _BodyBuilder:
    """Collects capsules, in the hand frame, one after the other."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rows: list[tuple[Floats, Floats, Floats, float, Floats, int]] = []

    def add(
        self, start: Floats, end: Floats, radii: Floats, softness: float, pad: Floats, material: int = SKIN
    ) -> None:
        def fill(part: Floats, width: int) -> Floats:
            return np.broadcast_to(part, (self.count, width))

        self.rows.append((fill(start, 3), fill(end, 3), fill(radii, 2), softness, fill(pad, 3), material))

    def body(self) -> Body:
        start, end, radii, softness, pads, material = zip(*self.rows, strict=True)
        return Body(
            np.stack(start, axis=1),
            np.stack(end, axis=1),
            np.stack(radii, axis=1),
            np.array(softness),
            np.stack(pads, axis=1),
            np.array(material),
        )


def build_body(posture: Posture, shape: HandShape, scene: Scene, frames: slice) -> Body:
    """Hand, forearm, sleeve and an object in the hand, for ``frames`` of a video, in the hand frame.

    An object that passes by lies in camera axes and is not among them.
    """
    builder = _BodyBuilder(len(posture.joints_mm))
    _fingers(builder, posture, shape)
    _palm(builder, posture, shape)
    _thumb_root(builder, posture, shape)
    _arm(builder, posture, shape, scene)
    occluder = scene.occluder
    nothing = np.zeros(3)
    if occluder is not None and occluder.in_hand:
        builder.add(occluder.start[frames], occluder.end[frames], occluder.radii_mm, 0.25, nothing, OCCLUDER)
    else:
        builder.add(nothing, nothing, np.full(2, _ABSENT_MM), 0.25, nothing, OCCLUDER)
    return builder.body()


def _fingers(builder: _BodyBuilder, posture: Posture, shape: HandShape) -> None:
    for finger, chain in enumerate(FINGER_JOINTS.values()):
        joints, pads = posture.joints_mm[:, chain, :], posture.pads[:, chain, :]
        radii = shape.radii_mm[finger]
        for bone in range(1 if finger == 0 else 0, 3):
            start, end = joints[:, bone], joints[:, bone + 1]
            pad = pads[:, bone + 1]
            if bone == 2:
                along = (end - start) / np.linalg.norm(end - start, axis=-1, keepdims=True)
                end = end - _TIP_INSET * radii[3] * along
            # The flesh of a finger lies more on its palmar side than on its back.
            builder.add(start + 0.06 * radii[bone] * pad, end, radii[bone : bone + 2], 0.8, pad)


def _palm(builder: _BodyBuilder, posture: Posture, shape: HandShape) -> None:
    """Metacarpals, the pads below the fingers, the little finger's ball, and the webs."""
    scale, thick = float(shape.scale), float(shape.scale * shape.thickness)
    palmar = np.array([0.0, 0.0, 1.0])
    knuckles = posture.joints_mm[:, [FINGER_JOINTS[finger][0] for finger in FINGERS[1:]]]
    seconds = posture.joints_mm[:, [FINGER_JOINTS[finger][1] for finger in FINGERS[1:]]]
    carpals = 0.16 * knuckles + np.array([[9, 3, 0], [3, 3, -1], [-4, 3, -1], [-10, 3, 1]]) * scale
    for i in range(4):
        radii = np.array([11.0 * thick, shape.radii_mm[i + 1, 0] * 0.98])
        builder.add(carpals[:, i], knuckles[:, i], radii, 2.6, palmar)
    # Tendons and small muscles fill the gaps between the metacarpals, most of them towards the palm.
    for i in range(3):
        end = 0.46 * (knuckles[:, i] + knuckles[:, i + 1])
        start = 0.5 * (carpals[:, i] + carpals[:, i + 1])
        builder.add(start, end + palmar * scale, np.array([11.0, 8.6]) * thick, 3.0, palmar)
    webs = knuckles + 0.34 * (seconds - knuckles)
    for i in range(3):
        radii = 0.66 * shape.radii_mm[i + 1 : i + 3, 0]
        builder.add(webs[:, i], webs[:, i + 1], radii, 2.0, palmar)
    index, middle, little = knuckles[:, 0], knuckles[:, 1], knuckles[:, 3]
    below = np.array([[-1, -7, 6], [1, -9, 6]]) * scale
    heel, edge = np.array([-15.0, 14.0, 7.0]) * scale, np.array([-1, -20, 5]) * scale
    for start, end, radii in (
        (index + below[0], little + below[1], np.array([8.0, 7.5])),
        (heel, little + edge, np.array([12.5, 9.5])),
        (np.array([-2.0, 24.0, 3.0]) * scale, 0.72 * middle, np.array([11.0, 10.0])),
    ):
        builder.add(start, end, radii * thick, 3.0, palmar)


def _thumb_root(builder: _BodyBuilder, posture: Posture, shape: HandShape) -> None:
    """The thumb's metacarpal, its ball, and the fold of skin between it and the index finger."""
    scale, thick = float(shape.scale), float(shape.scale * shape.thickness)
    chain = FINGER_JOINTS["thumb"]
    base, knuckle = posture.joints_mm[:, chain[0]], posture.joints_mm[:, chain[1]]
    pad = posture.pads[:, chain[1]]
    index = posture.joints_mm[:, FINGER_JOINTS["index"][0]]
    radii = shape.radii_mm[0]
    builder.add(base, knuckle, radii[:2], 2.6, pad)
    ball = base + 0.55 * (knuckle - base) + 5.5 * scale * pad
    builder.add(np.array([10.0, 13.0, 9.0]) * scale, ball, np.array([11.5, 13.0]) * thick, 3.0, pad)
    palmar = np.array([0.0, 0.0, 1.0])
    for along_index, along_thumb, radius in ((0.42, 0.7, 8.5), (0.62, 0.86, 6.5), (0.76, 1.0, 4.6)):
        start = along_index * index + np.array([2.0, 0.0, 2.0]) * scale
        end = base + along_thumb * (knuckle - base)
        builder.add(start, end, np.array([radius, radius]) * thick, 2.6, palmar)


def _arm(builder: _BodyBuilder, posture: Posture, shape: HandShape, scene: Scene) -> None:
    """Two bones' worth of forearm, broader than thick, and the sleeve over it."""
    scale, thick = float(shape.scale), float(shape.scale * shape.thickness)
    down = posture.forearm
    across = np.array([1.0, 0.0, 0.0]) - down * down[:, :1]
    across = across / np.linalg.norm(across, axis=-1, keepdims=True)
    pad = np.cross(across, -down)
    for side in (-1.0, 1.0):
        start = side * 9.5 * scale * across - 4.0 * scale * down
        end = side * 16.0 * scale * across + 230.0 * scale * down
        builder.add(start, end, np.array([16.5, 27.0]) * thick, 3.0, pad)
        cuff = start + (scene.sleeve_from_mm * scale + 6.0) * down
        wide = np.array([22.0, 34.0]) * thick if scene.sleeve_from_mm < 1e3 else np.full(2, _ABSENT_MM)
        builder.add(cuff, end, wide, 1.5, pad, CLOTH)


_HINGES: Final = tuple(joint for chain in FINGER_JOINTS.values() for joint in chain[1:3])
"""The joints across which the skin folds: two of each finger."""
_NAIL_MM: Final = (6.4, 5.0)
"""Half the length and half the width of a nail on a fingertip of 6.5 mm radius."""
_FOLD_MM: Final = 1.0
"""How broad a fold is."""


@dataclass(frozen=True, eq=False)
class Marks:
    """Where the folds and nails of N hands are; float32, camera axes, mm from the wrist."""

    hinges: Tensor
    """[N, 10, 3]."""
    hinge_axes: Tensor
    """[N, 10, 3] along the finger."""
    hinge_radii: Tensor
    """[10]."""
    nails: Tensor
    """[N, 5, 3] centres, on the bone's axis."""
    nail_frames: Tensor
    """[N, 5, 3, 3] rows: along the finger, across it, out of its back."""
    nail_radii: Tensor
    """[5] of the fingertips."""
    to_hand: Tensor
    """[N, 3, 3] from camera axes to the hand frame."""
    scale: float
    """Of the hand, 1 for the average adult's."""


def find_marks(posture: Posture, person: Person, rotation: Floats) -> Marks:
    """The marks on N hands bent to ``posture`` (hand frame) and turned by ``rotation`` [N, 3, 3]."""
    joints, pads = posture.joints_mm, posture.pads
    bones = joints - joints[:, np.maximum(PARENTS, 0)]
    bones = bones / np.linalg.norm(bones, axis=-1, keepdims=True).clip(1e-9)
    tips = np.array(FINGERTIPS)
    tip_radii, radii = person.shape.radii_mm[:, 3], person.shape.radii_mm[:, 1:3].reshape(-1)
    along, back = bones[:, tips], -pads[:, tips]
    frames = np.stack([along, np.cross(along, back), back], axis=2)
    hinges = np.array(_HINGES)

    def turned(vectors: Floats) -> Tensor:
        return to_tensor(vectors @ rotation.swapaxes(-1, -2))

    return Marks(
        hinges=turned(joints[:, hinges]),
        hinge_axes=turned(bones[:, hinges]),
        hinge_radii=to_tensor(radii),
        nails=turned(joints[:, tips] - 0.25 * tip_radii[:, None] * along),
        nail_frames=to_tensor(frames @ rotation[:, None].swapaxes(-1, -2)),
        nail_radii=to_tensor(tip_radii),
        to_hand=to_tensor(rotation.swapaxes(-1, -2)),
        scale=float(person.shape.scale),
    )


def skin_colour(
    person: Person, marks: Marks, tiles: Tiles, points: Tensor, normals: Tensor, pads: Tensor
) -> tuple[Tensor, Tensor]:
    """Linear colour [T, 3, P] and shine [T, P] of skin at ``points`` [T, 3, P].

    ``pads`` [T, 3, P] are the palmar directions of the flesh there.
    """
    palmar = torch.sigmoid(7 * (normals * pads).sum(1) + 0.6)
    skin, palm, nail = (
        to_tensor(linear(colour))[None, :, None] for colour in (person.skin, person.palm, person.nail)
    )
    colour = skin + (palm - skin) * palmar[:, None]
    to_hand = marks.to_hand[tiles.picture]
    place = torch.bmm(to_hand, points) / marks.scale
    folds = _finger_folds(marks, tiles, points) * (0.22 + 0.26 * palmar)
    inwards = torch.bmm(to_hand, normals)[:, 2].clamp(min=0)
    folds += 0.38 * _palm_lines(place) * palmar * inwards
    mottled = (place[:, 0] * 0.31 + 2 * (place[:, 1] * 0.17).sin()).sin() * (
        place[:, 1] * 0.23 + place[:, 2] * 0.29
    ).sin()
    darker = torch.tensor([0.85, 1.1, 1.2])[None, :, None]
    colour = colour * (1 + 0.05 * mottled[:, None]) * (1 - folds[:, None] * darker).clamp(min=0.2)
    nails = _nails(marks, tiles, points, normals)
    colour = colour + (nail - colour) * nails[:, None]
    return colour, 1 + 3 * nails


def linear(srgb: Floats) -> Floats:
    """sRGB (0 to 1) to linear light, by the power 2.2."""
    light: Floats = np.power(srgb, 2.2)
    return light


def _nearest(places: Tensor, tiles: Tiles, count: int) -> tuple[Tensor, Tensor]:
    """Index of the ``count`` of ``places`` [N, J, 3] that each tile's middle ray passes most closely."""
    away = places[tiles.picture] - tiles.eye.transpose(1, 2)
    ahead = torch.bmm(away, tiles.rays[..., TILE * TILE // 2 + TILE // 2, None])[..., 0]
    near = (away.square().sum(-1) - ahead.square()).topk(count, dim=-1, largest=False).indices
    return tiles.picture[:, None], near


def _finger_folds(marks: Marks, tiles: Tiles, points: Tensor) -> Tensor:
    """How deep [T, P] (0 to 1) points lie in a fold across a finger."""
    which = _nearest(marks.hinges, tiles, 4)
    axes, hinges = marks.hinge_axes[which], marks.hinges[which]
    beside = torch.bmm(axes, points) - (axes * hinges).sum(-1, keepdim=True)
    away = (points * points).sum(1, keepdim=True) - 2 * torch.bmm(hinges, points)
    away += (hinges**2).sum(-1, keepdim=True)
    near = away < (1.35 * marks.hinge_radii[which[1]][..., None]) ** 2
    # Two folds side by side, one on either side of the joint.
    beside = beside.abs_().sub_(1.3).mul_(1 / _FOLD_MM)
    return (beside.mul_(beside).neg_().exp_() * near).amax(dim=1)


def _palm_lines(place: Tensor) -> Tensor:
    """How deep [T, P] points [T, 3, P] in the hand frame (of average size) lie in the palm's three lines."""
    x, y, _ = place.unbind(1)

    def line(away: Tensor, left: float, right: float) -> Tensor:
        ends = torch.sigmoid((x - left) * 0.6) * torch.sigmoid((right - x) * 0.6)
        return torch.exp(-((away / 1.1) ** 2)) * ends

    heart_line = line(y - 69 - 0.0055 * (x + 34) ** 2, -38, 12)
    head_line = line(y - 64 + 0.0050 * (x - 30) ** 2, -26, 32)
    life_line = line(((x - 36) ** 2 + (y - 34) ** 2).sqrt() - 31, 4, 30) * torch.sigmoid(y - 14)
    return torch.maximum(torch.maximum(heart_line, head_line), life_line)


def _nails(marks: Marks, tiles: Tiles, points: Tensor, normals: Tensor) -> Tensor:
    """How far [T, P] (0 to 1) points lie on a nail."""
    which = _nearest(marks.nails, tiles, 2)
    frames, radii = marks.nail_frames[which], marks.nail_radii[which[1]][..., None]
    rows = frames.flatten(1, 2)
    centres = (frames * marks.nails[which][:, :, None]).sum(-1)[..., None]
    local = torch.bmm(rows, points).reshape(*frames.shape[:3], -1) - centres
    size = radii / 6.5
    along, across = local[:, :, 0] / (_NAIL_MM[0] * size), local[:, :, 1] / (_NAIL_MM[1] * size)
    inside = 1 - (along.square().square() + across.square().square())
    facing = (torch.bmm(rows[:, 2::3], normals) - 0.2) * 4
    near = (local[:, :, 2] > 0) & (local[:, :, 2] < 2.0 * radii)
    nails: Tensor = (inside * 4).clamp(0, 1) * facing.clamp(0, 1) * near
    return nails.amax(dim=1)

"""What skin looks like up close: the palm's colour and lines, the folds at the joints, the nails."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.skeleton import FINGER_JOINTS, FINGERTIPS, PARENTS
from handsim.synthetic.kinematics import Posture
from handsim.synthetic.person import Person
from handsim.synthetic.trace import TILE, Tiles

HINGES: Final = tuple(joint for chain in FINGER_JOINTS.values() for joint in chain[1:3])
"""The joints across which the skin folds: two of each finger."""
NAIL_MM: Final = (6.4, 5.0)
"""Half the length and half the width of a nail on a fingertip of 6.5 mm radius."""
FOLD_MM: Final = 1.0
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


def find_marks(posture: Posture, person: Person, rotation: NDArray[np.float64]) -> Marks:
    """The marks on N hands bent to ``posture`` (hand frame) and turned by ``rotation`` [N, 3, 3]."""
    joints, pads = posture.joints_mm, posture.pads
    bones = joints - joints[:, np.maximum(PARENTS, 0)]
    bones = bones / np.linalg.norm(bones, axis=-1, keepdims=True).clip(1e-9)
    tips = np.array(FINGERTIPS)
    tip_radii, radii = person.shape.radii_mm[:, 3], person.shape.radii_mm[:, 1:3].reshape(-1)
    along, back = bones[:, tips], -pads[:, tips]
    frames = np.stack([along, np.cross(along, back), back], axis=2)
    hinges = np.array(HINGES)

    def turned(vectors: NDArray[np.float64]) -> Tensor:
        return _tensor(vectors @ rotation.swapaxes(-1, -2))

    return Marks(
        hinges=turned(joints[:, hinges]),
        hinge_axes=turned(bones[:, hinges]),
        hinge_radii=_tensor(radii),
        nails=turned(joints[:, tips] - 0.25 * tip_radii[:, None] * along),
        nail_frames=_tensor(frames @ rotation[:, None].swapaxes(-1, -2)),
        nail_radii=_tensor(tip_radii),
        to_hand=_tensor(rotation.swapaxes(-1, -2)),
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
        _tensor(linear(colour))[None, :, None] for colour in (person.skin, person.palm, person.nail)
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


def linear(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB (0 to 1) to linear light, by the power 2.2."""
    light: NDArray[np.float64] = np.power(srgb, 2.2)
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
    beside = beside.abs_().sub_(1.3).mul_(1 / FOLD_MM)
    return (beside.mul_(beside).neg_().exp_() * near).amax(dim=1)


def _palm_lines(place: Tensor) -> Tensor:
    """How deep [T, P] points [T, 3, P] in the hand frame (of average size) lie in the palm's three lines."""
    x, y, _ = place.unbind(1)

    def line(away: Tensor, left: float, right: float) -> Tensor:
        ends = torch.sigmoid((x - left) * 0.6) * torch.sigmoid((right - x) * 0.6)
        return torch.exp(-((away / 1.1) ** 2)) * ends

    heart = line(y - 69 - 0.0055 * (x + 34) ** 2, -38, 12)
    head = line(y - 64 + 0.0050 * (x - 30) ** 2, -26, 32)
    life = line(((x - 36) ** 2 + (y - 34) ** 2).sqrt() - 31, 4, 30) * torch.sigmoid(y - 14)
    return torch.maximum(torch.maximum(heart, head), life)


def _nails(marks: Marks, tiles: Tiles, points: Tensor, normals: Tensor) -> Tensor:
    """How far [T, P] (0 to 1) points lie on a nail."""
    which = _nearest(marks.nails, tiles, 2)
    frames, radii = marks.nail_frames[which], marks.nail_radii[which[1]][..., None]
    rows = frames.flatten(1, 2)
    centres = (frames * marks.nails[which][:, :, None]).sum(-1)[..., None]
    local = torch.bmm(rows, points).reshape(*frames.shape[:3], -1) - centres
    size = radii / 6.5
    along, across = local[:, :, 0] / (NAIL_MM[0] * size), local[:, :, 1] / (NAIL_MM[1] * size)
    inside = 1 - (along.square().square() + across.square().square())
    facing = (torch.bmm(rows[:, 2::3], normals) - 0.2) * 4
    near = (local[:, :, 2] > 0) & (local[:, :, 2] < 2.0 * radii)
    nails: Tensor = (inside * 4).clamp(0, 1) * facing.clamp(0, 1) * near
    return nails.amax(dim=1)


def _tensor(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

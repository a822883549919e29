"""The flesh on the bones: the hand's body as tapered capsules that melt into each other.

Every capsule has its own softness: the muscles of the palm blend over millimetres, two fingers that touch
keep a sharp crease between them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.skeleton import FINGER_JOINTS, FINGERS
from handsim.synthetic.kinematics import Posture
from handsim.synthetic.person import HandShape
from handsim.synthetic.scene import Scene

Floats = NDArray[np.float64]

SKIN, CLOTH, THING = range(3)
ABSENT_MM: Final = -1e5
"""The radius of a capsule that is not there."""
TIP_INSET: Final = 0.5
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
    """[K] SKIN, CLOTH or THING."""


class _Mould:
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


def clothe(posture: Posture, shape: HandShape, scene: Scene, frames: slice) -> Body:
    """Put flesh, sleeve and held thing on the ``frames`` of a video; in the hand frame.

    A thing that passes by lies in the camera frame and is not in here.
    """
    mould = _Mould(len(posture.joints_mm))
    _fingers(mould, posture, shape)
    _palm(mould, posture, shape)
    _thumb_root(mould, posture, shape)
    _arm(mould, posture, shape, scene)
    thing = scene.thing
    nothing = np.zeros(3)
    if thing is not None and thing.held:
        mould.add(thing.start[frames], thing.end[frames], thing.radii_mm, 0.25, nothing, THING)
    else:
        mould.add(nothing, nothing, np.full(2, ABSENT_MM), 0.25, nothing, THING)
    return mould.body()


def _fingers(mould: _Mould, posture: Posture, shape: HandShape) -> None:
    for finger, chain in enumerate(FINGER_JOINTS.values()):
        joints, pads = posture.joints_mm[:, chain, :], posture.pads[:, chain, :]
        radii = shape.radii_mm[finger]
        for bone in range(1 if finger == 0 else 0, 3):
            start, end = joints[:, bone], joints[:, bone + 1]
            pad = pads[:, bone + 1]
            if bone == 2:
                along = (end - start) / np.linalg.norm(end - start, axis=-1, keepdims=True)
                end = end - TIP_INSET * radii[3] * along
            # The flesh of a finger lies more on its palmar side than on its back.
            mould.add(start + 0.06 * radii[bone] * pad, end, radii[bone : bone + 2], 0.8, pad)


def _palm(mould: _Mould, posture: Posture, shape: HandShape) -> None:
    """Metacarpals, the pads below the fingers, the little finger's ball, and the webs."""
    scale, thick = float(shape.scale), float(shape.scale * shape.thickness)
    palmar = np.array([0.0, 0.0, 1.0])
    knuckles = posture.joints_mm[:, [FINGER_JOINTS[finger][0] for finger in FINGERS[1:]]]
    seconds = posture.joints_mm[:, [FINGER_JOINTS[finger][1] for finger in FINGERS[1:]]]
    carpals = 0.16 * knuckles + np.array([[9, 3, 0], [3, 3, -1], [-4, 3, -1], [-10, 3, 1]]) * scale
    for i in range(4):
        radii = np.array([11.0 * thick, shape.radii_mm[i + 1, 0] * 0.98])
        mould.add(carpals[:, i], knuckles[:, i], radii, 2.6, palmar)
    # Tendons and small muscles fill the gaps between the metacarpals, most of them towards the palm.
    for i in range(3):
        end = 0.46 * (knuckles[:, i] + knuckles[:, i + 1])
        start = 0.5 * (carpals[:, i] + carpals[:, i + 1])
        mould.add(start, end + palmar * scale, np.array([11.0, 8.6]) * thick, 3.0, palmar)
    webs = knuckles + 0.34 * (seconds - knuckles)
    for i in range(3):
        radii = 0.66 * shape.radii_mm[i + 1 : i + 3, 0]
        mould.add(webs[:, i], webs[:, i + 1], radii, 2.0, palmar)
    below = np.array([[-1, -7, 6], [1, -9, 6]]) * scale
    radii = np.array([8.0, 7.5]) * thick
    mould.add(knuckles[:, 0] + below[0], knuckles[:, 3] + below[1], radii, 3.0, palmar)
    heel = np.array([-15.0, 14.0, 7.0]) * scale
    mould.add(
        heel,
        knuckles[:, 3] + np.array([-1, -20, 5]) * scale,
        np.array([12.5, 9.5]) * thick,
        3.0,
        palmar,
    )
    mould.add(
        np.array([-2.0, 24.0, 3.0]) * scale,
        0.72 * knuckles[:, 1],
        np.array([11.0, 10.0]) * thick,
        3.0,
        palmar,
    )


def _thumb_root(mould: _Mould, posture: Posture, shape: HandShape) -> None:
    """The thumb's metacarpal, its ball, and the fold of skin between it and the index finger."""
    scale, thick = float(shape.scale), float(shape.scale * shape.thickness)
    chain = FINGER_JOINTS["thumb"]
    base, knuckle = posture.joints_mm[:, chain[0]], posture.joints_mm[:, chain[1]]
    pad = posture.pads[:, chain[1]]
    index = posture.joints_mm[:, FINGER_JOINTS["index"][0]]
    radii = shape.radii_mm[0]
    mould.add(base, knuckle, radii[:2], 2.6, pad)
    ball = base + 0.55 * (knuckle - base) + 5.5 * scale * pad
    mould.add(np.array([10.0, 13.0, 9.0]) * scale, ball, np.array([11.5, 13.0]) * thick, 3.0, pad)
    palmar = np.array([0.0, 0.0, 1.0])
    for along_index, along_thumb, radius in ((0.42, 0.7, 8.5), (0.62, 0.86, 6.5), (0.76, 1.0, 4.6)):
        start = along_index * index + np.array([2.0, 0.0, 2.0]) * scale
        end = base + along_thumb * (knuckle - base)
        mould.add(start, end, np.array([radius, radius]) * thick, 2.6, palmar)


def _arm(mould: _Mould, posture: Posture, shape: HandShape, scene: Scene) -> None:
    """Two bones' worth of forearm, broader than thick, and the sleeve over it."""
    scale, thick = float(shape.scale), float(shape.scale * shape.thickness)
    down = posture.forearm
    across = np.array([1.0, 0.0, 0.0]) - down * down[:, :1]
    across = across / np.linalg.norm(across, axis=-1, keepdims=True)
    pad = np.cross(across, -down)
    for side in (-1.0, 1.0):
        start = side * 9.5 * scale * across - 4.0 * scale * down
        end = side * 16.0 * scale * across + 230.0 * scale * down
        mould.add(start, end, np.array([16.5, 27.0]) * thick, 3.0, pad)
        cuff = start + (scene.sleeve_from_mm * scale + 6.0) * down
        wide = np.array([22.0, 34.0]) * thick if scene.sleeve_from_mm < 1e3 else np.full(2, ABSENT_MM)
        mould.add(cuff, end, wide, 1.5, pad, CLOTH)

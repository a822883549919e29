"""Scenes with hands whose truth is known, composed from a seed: what each kind of scene is made of.

Half of the hands are closed, which are the hard ones. Each scene depends only on the seed, its kind and its
number. Of hands of which less than `LEAST_SEEN` is seen nothing is asked. Joints that are hidden or outside
of the picture are part of the truth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.hand_cutouts import Cutout, Photograph, cut_photograph, read_photographs, render_cutouts
from benchmarks.scene_canvas import (
    Canvas,
    paint_backdrop,
    paint_without_hands,
    put_thing,
    read_hand_free,
)
from handsim.detection import HandDetector
from handsim.geometry import box_around
from handsim.metrics.detection import TrueHand, box_iou

LEAST_SEEN: Final = 0.35
_PHOTOGRAPHS: Final = 120
_RENDERED: Final = 48
_NEAR: Final = 10
_TRIES: Final = 60
_FOLDED_DIGITS: Final = (0, 1, 6, 7, 8, 9)
"""Those whose folded fingers or thumb pass for a second hand; 0, the one closed on all sides, most."""
_TIMES: Final = {"plain": 4, "none": 5}
"""How many more scenes there are of these kinds: what is counted with them is rare."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture and its truth."""

    kind: str
    image: NDArray[np.uint8]
    hands: list[TrueHand] = field(default_factory=list)
    is_joint_seen: list[NDArray[np.bool_]] = field(default_factory=list)
    """For each hand [21] whether nothing hides the joint."""
    pair: tuple[int, int] | None = None
    """Numbers of two clasped hands."""
    shows: str = ""


@dataclass(frozen=True, eq=False)
class Library:
    """What scenes are made of."""

    photographs: list[Photograph]
    pasted: list[Cutout]
    rendered: list[Cutout]
    near: list[Cutout]
    """Rendered larger."""
    hand_free: list[NDArray[np.uint8]]
    photographs_left_out: int

    @classmethod
    def make(cls, seed: int, photos: Path | None, wild: Path | None, detector: HandDetector) -> "Library":
        """Cut out and render the hands; the detector only says where a photograph's joints are."""
        rng = np.random.default_rng((seed, 0))
        photographs, left_out = (
            ([], 0) if photos is None else read_photographs(rng, photos, _PHOTOGRAPHS, detector)
        )
        rendered = [
            *render_cutouts(rng, _RENDERED // 2, 320, closed=True),
            *render_cutouts(rng, _RENDERED // 2, 320, closed=False),
        ]
        near = [
            hand for closed in (True, False) for hand in render_cutouts(rng, _NEAR // 2, 960, closed=closed)
        ]
        pasted = [cut_photograph(photograph, rng) for photograph in photographs]
        return cls(photographs, pasted, rendered, near, read_hand_free(wild), left_out)

    def draw(self, rng: np.random.Generator, longer_px: float) -> Cutout:
        """A hand, right or left, that is not blurred when its box is so long; every other one is closed."""
        hands = self.near if longer_px > 330 else self.rendered
        if self.pasted and longer_px <= 260 and rng.random() < 0.6:
            hands = self.pasted
        closed = rng.random() < 0.5
        some = [hand for hand in hands if hand.is_closed == closed] or hands
        hand = some[rng.integers(len(some))]
        return hand.mirrored() if rng.random() < 0.5 else hand


def _photograph(rng: np.random.Generator, library: Library) -> Scene:
    """A photograph as it is."""
    photograph = library.photographs[rng.integers(len(library.photographs))]
    return _with_photograph("photograph", photograph.image, photograph, 1.0, np.zeros(2))


def _plain(rng: np.random.Generator, library: Library) -> Scene:
    """A photograph of a closed hand, turned by quarters, pasted with or without an edge on a plain wall."""
    import cv2

    digits = _FOLDED_DIGITS[: 1 if rng.random() < 0.5 else None]
    closed = [one for one in library.photographs if one.digit in digits]
    photograph = closed[rng.integers(len(closed))].turned(int(rng.integers(4)))
    width, height = ((640, 480), (480, 640), (320, 240), (1280, 960))[rng.integers(4)]
    side = int(np.exp(rng.uniform(np.log(0.2), np.log(0.95))) * min(width, height))
    corner = np.array([rng.integers(width - side + 1), rng.integers(height - side + 1)])
    larger = cv2.resize(photograph.image, (side, side), interpolation=cv2.INTER_CUBIC)
    wall = np.median(photograph.image[[0, -1]].reshape(-1, 3), axis=0) * rng.uniform(0.5, 1.1)
    light = 1 + rng.uniform(-0.25, 0.15) * np.linspace(0, 1, width)[None, :, None]
    picture = np.full((height, width, 3), wall) * light
    cover = np.ones((side, side, 1), np.float32)
    if rng.random() < 0.5:
        edge = max(2, side // 16)
        cover[:edge] = cover[-edge:] = cover[:, :edge] = cover[:, -edge:] = 0
        cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), edge / 2), np.float32)[..., None]
    part = picture[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
    part[:] = larger * cover + part * (1 - cover)
    canvas = Canvas(picture.astype(np.float32))
    return _with_photograph("plain", canvas.finish(rng), photograph, side / 100, corner.astype(float))


def _with_photograph(
    kind: str, image: NDArray[np.uint8], photograph: Photograph, scale: float, corner: NDArray[np.float64]
) -> Scene:
    joints = photograph.joints_px * scale + corner
    hand = TrueHand(box_around(joints), photograph.side, joints)
    return Scene(kind, image, [hand], [np.ones(21, dtype=bool)])


def _mixed(rng: np.random.Generator, library: Library) -> Scene:
    """One to four hands of mixed sizes."""
    width, height = ((640, 480), (1280, 720), (720, 1280), (1600, 1200))[rng.integers(4)]
    canvas = Canvas(paint_backdrop(rng, width, height))
    for longer_px in sorted(_sizes(rng, int(rng.integers(1, 5)), 24, 0.5 * min(width, height))):
        _put(canvas, rng, library, longer_px)
    return _finish("mixed", canvas, rng)


def _many(rng: np.random.Generator, library: Library) -> Scene:
    """Five to eight hands of mixed sizes."""
    canvas = Canvas(paint_backdrop(rng, 1280, 960))
    for longer_px in sorted(_sizes(rng, int(rng.integers(5, 9)), 40, 260)):
        _put(canvas, rng, library, longer_px)
    return _finish("many", canvas, rng)


def _near_and_small(rng: np.random.Generator, library: Library) -> Scene:
    """One near hand and three small ones in 1600 x 1200."""
    canvas = Canvas(paint_backdrop(rng, 1600, 1200))
    for longer_px in (*rng.uniform(60, 130, 3), rng.uniform(420, 620)):
        _put(canvas, rng, library, longer_px)
    return _finish("near_and_small", canvas, rng)


def _grid(rng: np.random.Generator, library: Library) -> Scene:
    """Eight hands as large as each other, in two rows of four."""
    width, height = ((1280, 720), (960, 540), (1600, 900))[rng.integers(3)]
    canvas = Canvas(paint_backdrop(rng, width, height))
    longer_px = rng.uniform(0.3, 0.55) * height / 2
    for row in range(2):
        for column in range(4):
            centre = np.array([(column + 0.5) / 4 * width, (row + 0.45) / 2 * height])
            for _ in range(_TRIES):
                turn, shifted = rng.normal(0, 15), centre + rng.normal(0, 0.02, 2) * width
                hand = library.draw(rng, longer_px)
                if canvas.add(rng, hand, longer_px, _point(shifted), turn, others_share=0.85):
                    break
    return _finish("grid", canvas, rng)


def _half_hidden(rng: np.random.Generator, library: Library) -> Scene:
    """A hand, and before it a thing or another hand that leaves half to nine tenths of it to be seen."""
    width, height = ((640, 480), (1280, 720))[rng.integers(2)]
    while True:
        canvas = Canvas(paint_backdrop(rng, width, height))
        longer_px = rng.uniform(0.2, 0.55) * height
        if not _put(canvas, rng, library, longer_px):
            continue
        behind = canvas.hands[0]
        before = (behind.box_px[:2] + behind.box_px[2:]) / 2 + rng.uniform(-0.7, 0.7, 2) * longer_px
        if rng.random() < 0.5:
            put_thing(canvas, rng, longer_px * rng.uniform(0.4, 1.2), before)
        else:
            turn, size = float(rng.uniform(-180, 180)), longer_px * rng.uniform(0.7, 1.3)
            hand = library.draw(rng, size)
            if not canvas.add(rng, hand, size, _point(before), turn, own_share=(0.8, 1.01), others_share=0.5):
                continue
        if 0.5 <= behind.visible_share <= 0.9:
            return _finish("half_hidden", canvas, rng)


def _clasped(rng: np.random.Generator, library: Library) -> Scene:
    """Two hands of about one size, mostly a left and a right one, that lie over each other in part."""
    width, height = ((640, 480), (1280, 720))[rng.integers(2)]
    while True:
        canvas = Canvas(paint_backdrop(rng, width, height))
        longer_px = rng.uniform(0.2, 0.5) * height
        hand = library.draw(rng, longer_px)
        other = library.draw(rng, longer_px)
        if other.side == hand.side and rng.random() < 0.8:
            other = other.mirrored()
        first = rng.uniform(0.3, 0.7, 2) * [width, height]
        angle, turn = rng.uniform(0, 2 * np.pi), rng.uniform(-60, 60)
        second = first + rng.uniform(0.3, 0.7) * longer_px * np.array([np.cos(angle), np.sin(angle)])
        sizes = longer_px, longer_px * rng.uniform(0.85, 1.18)
        if not canvas.add(rng, hand, sizes[0], _point(first), turn):
            continue
        turn += rng.choice([-1, 1]) * rng.uniform(20, 120)
        if not canvas.add(rng, other, sizes[1], _point(second), turn, others_share=0.6):
            continue
        if 0.12 <= box_iou(canvas.hands[0].box_px, canvas.hands[1].box_px) <= 0.5:
            return _finish("clasped", canvas, rng, pair=(0, 1))


def _border(rng: np.random.Generator, library: Library) -> Scene:
    """One to three hands that the border cuts: half to nine tenths of each are in the picture."""
    width, height = ((640, 480), (1280, 720))[rng.integers(2)]
    canvas = Canvas(paint_backdrop(rng, width, height))
    for longer_px in _sizes(rng, int(rng.integers(1, 4)), 60, 0.6 * height):
        for _ in range(_TRIES):
            centre = rng.uniform(-0.1, 1.1, 2) * [width, height]
            turn, hand = float(rng.uniform(-180, 180)), library.draw(rng, longer_px)
            if canvas.add(rng, hand, longer_px, _point(centre), turn, own_share=(0.5, 0.9)):
                break
    return _finish("border", canvas, rng)


def _none(rng: np.random.Generator, library: Library) -> Scene:
    """No hand."""
    shows, image = paint_without_hands(rng, library.hand_free, [*library.pasted, *library.rendered])
    return Scene("none", image, shows=shows)


KINDS: Final[dict[str, Callable[[np.random.Generator, Library], Scene]]] = {
    "photograph": _photograph,
    "plain": _plain,
    "mixed": _mixed,
    "many": _many,
    "near_and_small": _near_and_small,
    "grid": _grid,
    "half_hidden": _half_hidden,
    "clasped": _clasped,
    "border": _border,
    "none": _none,
}


def make_scenes(library: Library, kinds: list[str], scenes: int, seed: int) -> Iterator[Scene]:
    """So many scenes of each kind; each depends on the seed, its kind and its number alone."""
    for kind in kinds:
        if kind in ("photograph", "plain") and not library.photographs:
            continue
        for number in range(scenes * _TIMES.get(kind, 1)):
            yield KINDS[kind](np.random.default_rng((seed, 1 + list(KINDS).index(kind), number)), library)


def _sizes(rng: np.random.Generator, count: int, low: float, high: float) -> list[float]:
    return [float(size) for size in np.exp(rng.uniform(np.log(low), np.log(high), count))]


def _point(place: NDArray[np.float64]) -> tuple[float, float]:
    return float(place[0]), float(place[1])


def _put(canvas: Canvas, rng: np.random.Generator, library: Library, longer_px: float) -> bool:
    """Put a hand where it fits, mostly with the arm below."""
    height, width = canvas.picture.shape[:2]
    for _ in range(_TRIES):
        hand = library.draw(rng, longer_px)
        centre = rng.uniform(0.05, 0.95, 2) * [width, height]
        turn = float(rng.normal(0, 40) if rng.random() < 0.8 else rng.uniform(-180, 180))
        if canvas.add(rng, hand, longer_px, _point(centre), turn):
            return True
    return False


def _finish(
    kind: str, canvas: Canvas, rng: np.random.Generator, pair: tuple[int, int] | None = None
) -> Scene:
    image = canvas.finish(rng)
    hands, seen = [], []
    for hand in canvas.hands:
        hands.append(
            TrueHand(
                hand.box_px, hand.cutout.side, hand.joints_px, is_ignored=hand.visible_share < LEAST_SEEN
            )
        )
        places = np.floor(hand.joints_px).astype(int) - hand.corner
        high = np.array(hand.seen.shape[::-1]) - 1
        inside = ((places >= 0) & (places <= high)).all(axis=1)
        x, y = places.clip(0, high.clip(0)).T
        seen.append(inside & (hand.seen[y, x] > 0.5))
    return Scene(kind, image, hands, seen, pair)

"""Backgrounds, things that are no hands, and a canvas that knows what of a hand is seen."""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.hand_cutouts import Cutout, Floats
from handsim.geometry import apply_affine, box_around
from handsim.images import decode_image, read_file
from handsim.synthetic import SceneConfig
from handsim.synthetic.scene import sample_scene

Picture = NDArray[np.float32]
"""[H, W, 3] RGB, 0 to 255."""

HAND_FREE: Final = {
    "test1.jpg": (
        (0.46, 0.0, 0.72, 0.48),
        (0.78, 0.0, 1.0, 0.95),
        (0.0, 0.0, 0.28, 0.45),
        (0.6, 0.75, 1.0, 1.0),
    ),
    "test2.jpg": ((0.0, 0.38, 0.34, 0.95), (0.7, 0.0, 1.0, 0.45), (0.0, 0.0, 0.34, 0.36)),
    "test3.jpg": (
        (0.0, 0.0, 0.3, 0.45),
        (0.62, 0.0, 1.0, 1.0),
        (0.0, 0.5, 0.28, 1.0),
        (0.5, 0.02, 0.8, 0.35),
    ),
    "test4.jpg": (
        (0.0, 0.0, 1.0, 0.2),
        (0.62, 0.15, 1.0, 0.45),
        (0.0, 0.6, 0.4, 1.0),
        (0.75, 0.78, 1.0, 1.0),
    ),
    "test5.jpg": ((0.25, 0.06, 0.75, 0.26), (0.1, 0.55, 0.9, 1.0), (0.0, 0.0, 1.0, 0.24)),
}
"""Parts without a hand of HaMeR's example photographs, in parts of their width and height."""
_SKIN: Final = np.array([[236, 200, 178], [214, 162, 130], [176, 120, 88], [120, 78, 56]], dtype=float)


def read_hand_free(folder: Path | None) -> list[NDArray[np.uint8]]:
    """The parts of HaMeR's photographs that show faces, arms, instruments and leaves, but no hand."""
    parts = []
    for name, boxes in HAND_FREE.items() if folder is not None else ():
        image = decode_image(read_file(Path(folder or "") / name))
        height, width = image.shape[:2]
        for x0, y0, x1, y1 in boxes:
            parts.append(image[int(y0 * height) : int(y1 * height), int(x0 * width) : int(x1 * width)])
    return parts


def paint_backdrop(rng: np.random.Generator, width: int, height: int) -> Picture:
    """A room, wall, table or garden, out of focus more or less; some in the colours of skin."""
    from handsim.synthetic.background import paint_background

    scene = sample_scene(rng, SceneConfig(), 1, holding=False, scale=1.0)
    painted = paint_background(rng, scene, 480).permute(1, 2, 0).numpy() * 255
    picture = _fill(painted, width, height)
    if rng.random() < 0.15:
        picture = 0.45 * picture + 0.55 * _SKIN[rng.integers(len(_SKIN))]
    return np.asarray(picture, dtype=np.float32)


def _fill(image: NDArray[np.generic], width: int, height: int) -> Picture:
    """The middle of an image, resized to cover a picture."""
    scale = max(width / image.shape[1], height / image.shape[0])
    size = int(np.ceil(image.shape[1] * scale)), int(np.ceil(image.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(np.asarray(image, dtype=np.float32), size, interpolation=method)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.clip(resized[top : top + height, left : left + width], 0, 255)


@dataclass(eq=False)
class PlacedHand:
    """A hand on a canvas."""

    cutout: Cutout
    joints_px: Floats
    """[21, 2] in the picture; may lie outside."""
    corner: tuple[int, int]
    """x and y in the picture of the first pixel of ``seen``."""
    seen: NDArray[np.float32]
    """[h, w] how much of each pixel around the joints is this hand, and nothing before it."""
    area: float
    """What ``seen`` would sum to if nothing hid the hand, in the picture or out of it."""

    @property
    def box_px(self) -> Floats:
        """[4] tight around the joints."""
        return box_around(self.joints_px)

    @property
    def visible_share(self) -> float:
        return float(self.seen.sum()) / max(self.area, 1e-6)


@dataclass(eq=False)
class Canvas:
    """A picture into which hands and things are put, the farthest first."""

    picture: Picture
    hands: list[PlacedHand] = field(default_factory=list)

    def add(
        self,
        rng: np.random.Generator,
        cutout: Cutout,
        longer_px: float,
        centre: tuple[float, float],
        turn_deg: float,
        own_share: tuple[float, float] = (0.95, 1.01),
        others_share: float = 0.93,
    ) -> bool:
        """Put a hand whose joints' box has that longer side around that centre; False where it does not fit.

        It fits if the part of it in the picture lies in ``own_share``, and of every hand behind it that much
        stays to be seen.
        """
        placed, colour, cover, corner = self._warp(cutout, longer_px, centre, turn_deg)
        if colour.size == 0 or not own_share[0] <= placed.visible_share <= own_share[1]:
            return False
        rest = [self._hide(hand, cover, corner) for hand in self.hands]
        if any(seen.sum() < others_share * hand.area for seen, hand in zip(rest, self.hands, strict=True)):
            return False
        for hand, seen in zip(self.hands, rest, strict=True):
            hand.seen = seen
        self._paint(colour * rng.uniform(0.75, 1.12), cover, corner, shadow=0.25)
        self.hands.append(placed)
        return True

    def add_thing(self, colour: Picture, cover: NDArray[np.float32], corner: tuple[int, int]) -> None:
        """Put something that is no hand before everything that is there."""
        for hand in self.hands:
            hand.seen = self._hide(hand, cover, corner)
        self._paint(colour, cover, corner, shadow=0.2)

    def finish(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The picture as a camera writes it: a little noise, and JPEG."""
        noisy = self.picture + rng.normal(0, rng.uniform(0.5, 4), (*self.picture.shape[:2], 1))
        written = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(written, "JPEG", quality=90)
        return np.asarray(Image.open(written))

    def _warp(
        self, cutout: Cutout, longer_px: float, centre: tuple[float, float], turn_deg: float
    ) -> tuple[PlacedHand, Picture, NDArray[np.float32], tuple[int, int]]:
        """The hand in the picture's pixels, and the part of the picture [h, w] that it touches."""
        angle = np.radians(turn_deg)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        box = box_around(cutout.joints_px @ turn.T)
        scale = longer_px / float((box[2:] - box[:2]).max())
        shift = np.array(centre) - scale * (box[:2] + box[2:]) / 2
        to_picture = np.column_stack([scale * turn, shift])
        height, width = cutout.cover.shape
        # warpAffine does not average: what becomes smaller is shrunk before it is turned.
        shrunk = min(1.0, scale)
        size = max(1, round(width * shrunk)), max(1, round(height * shrunk))
        colour, cover = cutout.colour * cutout.cover[..., None], cutout.cover
        if shrunk < 1:
            colour, cover = (
                np.asarray(cv2.resize(layer, size, interpolation=cv2.INTER_AREA), np.float32)
                for layer in (colour, cover)
            )
        corners = apply_affine(
            to_picture, np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
        )
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int), -4 * max(self.picture.shape))
        high = np.ceil(corners.max(axis=0)).astype(int)
        local = to_picture.copy()
        local[:, 2] -= low
        local[:, :2] = local[:, :2] @ np.diag([width / size[0], height / size[1]])
        # Our pixels have their centres at .5, OpenCV's at whole numbers.
        local[:, 2] += local[:, :2] @ [0.5, 0.5] - 0.5
        span = tuple(int(side) for side in high - low)
        colour, cover = (
            np.asarray(cv2.warpAffine(layer, local, span, flags=cv2.INTER_LINEAR), np.float32)
            for layer in (colour, cover)
        )
        joints = apply_affine(to_picture, cutout.joints_px)
        around = _inside(box_around(joints), low, cover.shape)
        area = float((cover * around).sum())
        first, last = np.maximum(low, 0), np.minimum(high, self.picture.shape[1::-1])
        rows, columns = (
            slice(*(np.array([first[axis], max(first[axis], last[axis])]) - low[axis])) for axis in (1, 0)
        )
        corner = (int(first[0]), int(first[1]))
        seen = (cover * around)[rows, columns]
        return (
            PlacedHand(cutout, joints, corner, seen, area),
            colour[rows, columns],
            cover[rows, columns],
            corner,
        )

    def _hide(
        self, hand: PlacedHand, cover: NDArray[np.float32], corner: tuple[int, int]
    ) -> NDArray[np.float32]:
        """What is seen of a hand behind a cover [h, w] at that corner."""
        seen = hand.seen.copy()
        low = np.maximum(hand.corner, corner)
        ends = [np.add(place, layer.shape[::-1]) for place, layer in ((hand.corner, seen), (corner, cover))]
        high = np.minimum(*ends)
        if (high > low).all():
            theirs, mine = (
                (slice(low[1] - at[1], high[1] - at[1]), slice(low[0] - at[0], high[0] - at[0]))
                for at in (hand.corner, corner)
            )
            seen[theirs] *= 1 - cover[mine]
        return seen

    def _paint(
        self, colour: Picture, cover: NDArray[np.float32], corner: tuple[int, int], shadow: float
    ) -> None:
        """Blend what is there multiplied with its cover already; it throws a soft shadow around itself."""
        height, width = cover.shape
        part = self.picture[corner[1] : corner[1] + height, corner[0] : corner[0] + width]
        dark = cv2.GaussianBlur(cover, (0, 0), max(1.0, 0.02 * max(cover.shape)))
        part *= (1 - shadow * dark)[..., None]
        part *= (1 - cover)[..., None]
        part += colour


def _inside(
    box_px: Floats, low: NDArray[np.intp], shape: tuple[int, ...], margin: float = 0.05
) -> NDArray[np.float32]:
    """[h, w] 1 in a box and a margin, in its longer sides, 0 around it; the first pixel lies at ``low``."""
    margin *= (box_px[2:] - box_px[:2]).max()
    x0, y0 = np.floor(box_px[:2] - margin - low).astype(int).clip(0)
    x1, y1 = np.ceil(box_px[2:] + margin - low).astype(int).clip(0)
    inside = np.zeros(shape, np.float32)
    inside[y0:y1, x0:x1] = 1
    return inside


def paint_thing(
    rng: np.random.Generator, longer_px: float, *, skin: bool = False
) -> tuple[Picture, NDArray[np.float32]]:
    """A box, bottle, ball or stick, lit from one side: colours times cover [h, w, 3], and cover [h, w]."""
    size = int(longer_px * 1.5) + 8
    y, x = (np.mgrid[:size, :size] - size / 2) / (longer_px / 2)
    angle = rng.uniform(0, np.pi)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    broad = rng.uniform(0.18, 0.75)
    if rng.random() < 0.5:
        outside = np.maximum(np.abs(along) - 1, (np.abs(across) - broad))
    else:
        outside = np.hypot(np.maximum(np.abs(along) - (1 - broad), 0), across) - broad
    cover = np.clip(0.5 - outside * longer_px / 4, 0, 1).astype(np.float32)
    base = _SKIN[rng.integers(len(_SKIN))] if skin else rng.uniform(15, 240, 3)
    light = 1.0 - 0.35 * np.clip(np.abs(across / broad + 0.3), 0, 1.3) ** 2 + 0.05 * np.sin(5 * along)
    if rng.random() < 0.3:
        light -= 0.2 * (np.sin(rng.uniform(3, 12) * along) > 0.2)
    colour = np.clip(base * light[..., None] + rng.normal(0, 2, (size, size, 1)), 0, 255)
    return (colour * cover[..., None]).astype(np.float32), cover


def put_thing(
    canvas: Canvas, rng: np.random.Generator, longer_px: float, centre: Floats, *, skin: bool = False
) -> None:
    """Paint a thing at a place of the canvas."""
    colour, cover = paint_thing(rng, longer_px, skin=skin)
    height, width = canvas.picture.shape[:2]
    x, y = (int(c - side / 2) for c, side in zip(centre, cover.shape[::-1], strict=True))
    rows = slice(max(0, -y), max(0, min(cover.shape[0], height - y)))
    columns = slice(max(0, -x), max(0, min(cover.shape[1], width - x)))
    if cover[rows, columns].size:
        canvas.add_thing(colour[rows, columns], cover[rows, columns], (max(0, x), max(0, y)))


def paint_without_hands(
    rng: np.random.Generator, hand_free: list[NDArray[np.uint8]], cutouts: list[Cutout]
) -> tuple[str, NDArray[np.uint8]]:
    """A picture without a hand, and what it shows."""
    width, height = (int(side) for side in ((640, 480), (480, 640), (1280, 720), (224, 224))[rng.integers(4)])
    kinds = [
        "backdrop",
        "things",
        "skin",
        "noise",
        "text",
        "gradient",
        "sleeves",
        *["photograph"] * 4 * bool(hand_free),
    ]
    kind = kinds[rng.integers(len(kinds))]
    canvas = Canvas(paint_backdrop(rng, width, height))
    places = rng.uniform(0, 1, (12, 2)) * [width, height]
    if kind == "things":
        for place in places[: rng.integers(2, 12)]:
            put_thing(canvas, rng, rng.uniform(0.1, 0.6) * height, place)
    elif kind == "skin":
        for place in places[: rng.integers(1, 5)]:
            put_thing(canvas, rng, rng.uniform(0.1, 0.7) * height, place, skin=True)
    elif kind == "noise":
        cells = int(2 ** rng.uniform(3, 9))
        canvas = Canvas(_fill(rng.uniform(0, 255, (cells, cells, 3)), width, height))
    elif kind == "text":
        canvas = Canvas(_paint_text(rng, width, height))
    elif kind == "gradient":
        canvas = Canvas(_fill(rng.uniform(0, 255, (2, 2, 3)), width, height))
    elif kind == "photograph":
        part = hand_free[rng.integers(len(hand_free))]
        zoom = rng.uniform(0.5, 1.0)
        rows, columns = (int(zoom * side) for side in part.shape[:2])
        top, left = rng.integers(part.shape[0] - rows + 1), rng.integers(part.shape[1] - columns + 1)
        part = part[top : top + rows, left : left + columns]
        canvas = Canvas(_fill(part[:, :: rng.choice([-1, 1])], width, height))
    elif kind == "sleeves":
        for place in places[: rng.integers(1, 4)]:
            _put_arm(canvas, rng, cutouts[rng.integers(len(cutouts))], rng.uniform(0.2, 0.6) * height, place)
    return kind, canvas.finish(rng)


def _put_arm(
    canvas: Canvas, rng: np.random.Generator, cutout: Cutout, longer_px: float, centre: Floats
) -> None:
    """A sleeve and the end of the arm in it, without the hand."""
    around = _inside(box_around(cutout.joints_px), np.zeros(2, dtype=int), cutout.cover.shape, 0.2)
    arm = replace(cutout, cover=cutout.cover * (1 - cv2.GaussianBlur(around, (0, 0), 2)))
    place, turn = (float(centre[0]), float(centre[1])), float(rng.uniform(-180, 180))
    canvas.add(rng, arm, longer_px, place, turn, own_share=(0.0, 1.01), others_share=0.0)
    canvas.hands.clear()


def _paint_text(rng: np.random.Generator, width: int, height: int) -> Picture:
    """A printed page or a poster."""
    paper, ink = (tuple(int(c) for c in rng.uniform(*bounds, 3)) for bounds in ((150, 255), (0, 110)))
    page = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(page)
    size = float(rng.uniform(10, 60))
    font = ImageFont.load_default(size)
    words = ["hand", "the", "of", "pose", "index", "near", "7", "of all", "glove", "mine", "2025", "and"]
    line_px = int(size * 1.4)
    for top in range(8, height, line_px):
        line = " ".join(words[number] for number in rng.integers(len(words), size=24))
        draw.text((8, top), line, fill=ink, font=font)
    turned = page.rotate(float(rng.uniform(-12, 12)), resample=Image.Resampling.BICUBIC, fillcolor=paper)
    return np.asarray(turned, dtype=np.float32)

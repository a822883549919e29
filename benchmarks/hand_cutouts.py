"""Single hands to compose scenes of: cut out of photographs, or rendered, with their truth.

The photographs are those of the Sign Language Digits dataset: 100 x 100 pixels, one hand before a light wall.
Nobody labelled joints in them. Their truth is what the detector finds on the photograph alone, enlarged and
with several margins, where it agrees with itself: joint errors in scenes made of them say how much worse a
scene is than its photograph. The truth of rendered hands is exact.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.detection import Detection, HandDetector
from handsim.geometry import box_around, mirror_points
from handsim.hand import Side
from handsim.images import decode_image, read_file
from handsim.synthetic import MotionConfig, SceneConfig, SyntheticConfig
from handsim.synthetic.camera import crop_intrinsics, project, squares_around
from handsim.synthetic.video import compute_geometry, sample_surroundings, sample_video

Floats = NDArray[np.float64]

CLOSED: Final = ("fist", "thumbs_up", "point", "beak", "grasp", "hook")
"""Of `handsim.synthetic.prototypes`; closed hands are what detectors take for two."""
_CLOSED_DIGITS: Final = (0, 1, 9)
_PHOTO_ENLARGEMENT: Final = 3
_MARGINS: Final = (0.35, 0.6, 1.0)
_AGREEMENT: Final = 0.12
"""Mean distance of joints in two looks at a photograph, in longer sides of the box."""
_KNUCKLES: Final = (5, 9, 13, 17)
_FRAME: Final = 2.0
"""A rendering's side, in longer sides of its hand."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """One hand and its arm, which ends in a sleeve."""

    colour: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    cover: NDArray[np.float32]
    """[H, W] 0 to 1: how much of each pixel is the hand."""
    joints_px: Floats
    """[21, 2]"""
    side: Side
    is_closed: bool
    name: str

    def mirrored(self) -> "Cutout":
        """The same hand of the other side."""
        return replace(
            self,
            colour=np.ascontiguousarray(self.colour[:, ::-1]),
            cover=np.ascontiguousarray(self.cover[:, ::-1]),
            joints_px=mirror_points(self.joints_px, self.colour.shape[1]),
            side="left" if self.side == "right" else "right",
        )


@dataclass(frozen=True, eq=False)
class Photograph:
    """One of the digits, with the joints found in it."""

    path: Path
    image: NDArray[np.uint8]
    joints_px: Floats
    side: Side

    @property
    def digit(self) -> int:
        return int(self.path.stem)

    @property
    def is_closed(self) -> bool:
        return self.digit in _CLOSED_DIGITS

    def turned(self, quarters: int) -> "Photograph":
        """The square photograph, turned counter-clockwise."""
        joints = self.joints_px
        for _ in range(quarters):
            joints = np.column_stack([joints[:, 1], self.image.shape[1] - joints[:, 0]])
        return replace(self, image=np.ascontiguousarray(np.rot90(self.image, quarters)), joints_px=joints)


def read_photographs(
    rng: np.random.Generator, folder: Path, count: int, detector: HandDetector
) -> tuple[list[Photograph], int]:
    """So many digits below ``folder``, half of them closed hands, and of how many the truth is unsure."""
    paths = sorted(folder.glob("*/[0-9].jpg"))
    closed = [path for path in paths if int(path.stem) in _CLOSED_DIGITS]
    others = [path for path in paths if int(path.stem) not in _CLOSED_DIGITS]
    chosen = [
        some[number] for some in (closed, others) for number in rng.permutation(len(some))[: (count + 1) // 2]
    ]
    photographs = []
    for path in chosen:
        image = decode_image(read_file(path))
        found = _agreed_hand(image, detector)
        if found is not None:
            photographs.append(Photograph(path, image, found.keypoints_px[:, :2].astype(float), found.side))
    return photographs, len(chosen) - len(photographs)


def _agreed_hand(image: NDArray[np.uint8], detector: HandDetector) -> Detection | None:
    """The hand of a photograph in its pixels: the look that is nearest to the others, if two agree."""
    looks: list[Detection] = []
    height, width = image.shape[:2]
    for margin in _MARGINS:
        edge = round(margin * max(height, width))
        padded = np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="edge")
        size = tuple(_PHOTO_ENLARGEMENT * side for side in padded.shape[1::-1])
        larger = np.asarray(Image.fromarray(padded).resize(size, Image.Resampling.LANCZOS))
        found = detector.detect([larger])[0]
        if found:
            largest = max(found, key=lambda hand: float(np.prod(hand.box_px[2:] - hand.box_px[:2])))
            keypoints = largest.keypoints_px / _PHOTO_ENLARGEMENT
            keypoints[:, :2] -= edge
            looks.append(replace(largest, keypoints_px=keypoints.astype(np.float32)))
    if len(looks) < 2:
        return None
    joints = np.stack([look.keypoints_px[:, :2] for look in looks])
    apart = np.linalg.norm(joints[:, None] - joints[None], axis=3).mean(axis=2)
    box = box_around(joints[0])
    apart /= (box[2:] - box[:2]).max()
    nearest = int(np.sort(apart, axis=1)[:, 1].argmin())
    return looks[nearest] if np.sort(apart[nearest])[1] <= _AGREEMENT else None


def cut_photograph(photograph: Photograph, rng: np.random.Generator) -> Cutout:
    """The hand of a photograph, enlarged, without the wall behind it."""
    import cv2

    image = photograph.image
    height, width = (_PHOTO_ENLARGEMENT * side for side in image.shape[:2])
    distance = _distance_to_wall(cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32))
    guess = np.full(image.shape[:2], cv2.GC_PR_BGD, np.uint8)
    guess[distance > 25] = cv2.GC_PR_FGD
    guess[distance > 45] = cv2.GC_FGD
    guess[distance < 6] = cv2.GC_BGD
    labels = np.asarray(cv2.resize(guess, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    larger = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(larger, labels, (0, 0, 0, 0), *models, 3, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask)
    mask = (parts == 1 + np.argmax(statistics[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    inner = np.asarray(cv2.erode(mask, np.ones((3, 3), np.uint8)), np.float32)
    cover = np.asarray(cv2.GaussianBlur(inner, (0, 0), 1.2), np.float32)
    name = f"{photograph.path.parent.name}/{photograph.path.name}"
    cutout = Cutout(
        larger,
        cover,
        photograph.joints_px * _PHOTO_ENLARGEMENT,
        photograph.side,
        photograph.is_closed,
        name,
    )
    return _add_sleeve(cutout, rng)


def _distance_to_wall(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """[H, W] how far colours (Lab) are from the wall's, which change slowly; light counts least."""
    height, width = lab.shape[:2]
    y, x = np.mgrid[:height, :width] / height - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    is_wall = np.zeros((height, width), dtype=bool)
    is_wall[:4] = is_wall[: height // 2, :4] = is_wall[: height // 2, -4:] = True
    for _ in range(4):
        wall, *_ = np.linalg.lstsq(terms[is_wall], lab[is_wall], rcond=None)
        distance = np.linalg.norm((lab - terms @ wall) * [0.5, 2.0, 2.0], axis=2)
        is_wall = distance < 12
    return np.asarray(distance, np.float32)


def render_cutouts(rng: np.random.Generator, count: int, size_px: int, *, closed: bool) -> list[Cutout]:
    """So many rendered hands of new people, each in a square of ``size_px`` (a multiple of 8)."""
    import torch

    from handsim.synthetic.render import render

    motion = MotionConfig(prototypes=CLOSED, blend_share=0.0) if closed else MotionConfig()
    seed = int(rng.integers(2**31))
    config = SyntheticConfig(
        videos=count, hands_per_video=1, seed=seed, motion=motion, scene=SceneConfig(passing_share=0.0)
    )
    cutouts = []
    for index in range(count):
        video = sample_video(config, index)
        geometry = compute_geometry([video])
        intrinsics = video.view.intrinsics[None]
        squares = squares_around(project(geometry.joints_mm, intrinsics), _FRAME)
        intrinsics = crop_intrinsics(intrinsics, squares, size_px)
        scene = sample_surroundings(config, video)
        with torch.no_grad():
            pictures = render(video, scene, geometry.posture, intrinsics, slice(0, 1), size_px, (seed, index))
        cutout = Cutout(
            pictures.images[0],
            _soften(np.isfinite(pictures.depth_mm[0])),
            project(geometry.joints_mm, intrinsics)[0],
            "right",
            closed,
            f"rendered {seed}/{index}",
        )
        if video.side == "left":
            cutout = cutout.mirrored()
        cutouts.append(_add_sleeve(cutout, rng))
    return cutouts


def _soften(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    import cv2

    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.GaussianBlur(inner.astype(np.float32), (0, 0), 0.8))


def _add_sleeve(cutout: Cutout, rng: np.random.Generator) -> Cutout:
    """The arm goes on, in a sleeve, where the picture of the cutout cut it off."""
    import cv2

    border = np.ones(cutout.cover.shape, dtype=bool)
    border[2:-2, 2:-2] = False
    cut = np.argwhere(border & (cutout.cover > 0.5))[:, ::-1] + 0.5
    if len(cut) < 8:
        return cutout
    box = box_around(cutout.joints_px)
    length = rng.uniform(1.2, 2.5) * float((box[2:] - box[:2]).max())
    middle = cut.mean(axis=0)
    down = middle - cutout.joints_px[list(_KNUCKLES)].mean(axis=0)
    down /= np.linalg.norm(down)
    across = np.array([-down[1], down[0]])
    half = max(float(np.ptp(cut @ across)) / 2, 3.0) * rng.uniform(1.05, 1.35)
    wider = half * rng.uniform(1.1, 1.6)
    start, end = middle - 0.25 * half * down, middle + length * down
    quad = np.array(
        [start - across * half, start + across * half, end + across * wider, end - across * wider]
    )

    # The canvas grows to where the sleeve ends; the end is round.
    low = np.minimum(0, np.floor(np.minimum(quad.min(axis=0), end - wider))).astype(int) - 2
    high = np.ceil(np.maximum(quad.max(axis=0), end + wider)).astype(int) + 2
    high = np.maximum(cutout.cover.shape[::-1], high)
    edges = (-low[1], high[1] - cutout.cover.shape[0]), (-low[0], high[0] - cutout.cover.shape[1])
    cover = np.pad(cutout.cover, edges)
    colour = np.pad(cutout.colour, (*edges, (0, 0)))
    sleeve = np.zeros(cover.shape, np.float32)
    cv2.fillPoly(sleeve, [np.round(quad - low).astype(np.int32)], 1.0, lineType=cv2.LINE_AA)
    cv2.circle(sleeve, [int(x) for x in end - low], round(wider), 1.0, -1, lineType=cv2.LINE_AA)
    sleeve = np.asarray(cv2.GaussianBlur(sleeve, (0, 0), 1.0), np.float32)
    rows, columns = (slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(sleeve))
    origin = start - low - [columns.start, rows.start]
    part = sleeve[rows, columns, None]
    cloth = _paint_cloth(rng, part.shape[:2], origin, down / wider, across / wider)
    colour[rows, columns] = colour[rows, columns] * (1 - part) + cloth * part
    return replace(cutout, colour=colour, cover=np.maximum(cover, sleeve), joints_px=cutout.joints_px - low)


def _paint_cloth(
    rng: np.random.Generator, shape: tuple[int, ...], origin: Floats, down: Floats, across: Floats
) -> NDArray[np.float32]:
    """[H, W, 3] a colour, darker towards both edges of the sleeve, with folds, and stripes now and then.

    ``origin`` is a point of its axis; ``down`` and ``across`` are one over its half width long.
    """
    y, x = np.ogrid[: shape[0], : shape[1]]
    aside, along = ((x - origin[0]) * axis[0] + (y - origin[1]) * axis[1] for axis in (across, down))
    base = rng.uniform(20, 230, 3) * 0.4 + rng.uniform(20, 230) * 0.6
    light = 1.05 - 0.45 * np.clip(np.abs(aside + 0.25), 0, 1.2) ** 2
    light += 0.06 * np.sin(3.1 * along + 2.0 * np.sin(1.7 * aside + rng.uniform(0, 6)) + rng.uniform(0, 6))
    if rng.random() < 0.3:
        light -= 0.25 * (np.sin(9 * along) > 0)
    noisy = base * light[..., None] + rng.normal(0, 3, (*shape, 1))
    return np.asarray(np.clip(noisy, 0, 255), np.float32)

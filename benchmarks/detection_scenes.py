"""How well hands are found in scenes whose truth is known: recall, mistakes, joints and time, as JSON.

    python -m benchmarks.detection_scenes --photos DIR [--wild DIR] [--scenes N] [--seed S]
        [--kinds grid,none] [--detector NAME] [--quick] [--write DIR [--no-measure]]

Scenes are composed from hands cut out of photographs (the Sign Language Digits dataset, ``--photos``) and
from rendered ones, one to eight of mixed sizes; half of them are closed hands, which are the hard ones. Each
scene depends only on the seed, its kind and its number. ``--write`` leaves pictures and ``coco.json`` behind,
so that any detector, also another version's, can be measured on the same ones: `handsim evaluate detection`.

Of hands of which less than `LEAST_SEEN` is seen nothing is asked (``iscrowd``). Joints that are hidden or lie
outside of the picture are part of the truth.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.cli.detector import add_detector_arguments, read_detector_options
from benchmarks.hand_cutouts import Cutout, Photograph, cut_photograph, read_photographs, render_cutouts
from benchmarks.scene_canvas import (
    Canvas,
    paint_backdrop,
    paint_without_hands,
    put_thing,
    read_hand_free,
)
from handsim.coco import CATEGORY
from handsim.detection import DetectorOptions, HandDetector, describe_detector, open_detector
from handsim.geometry import box_around
from handsim.metrics.detection import (
    PictureMatch,
    TrueHand,
    box_iou,
    match_picture,
    score_by_size,
    score_detections,
)

LEAST_SEEN: Final = 0.35
_PHOTOGRAPHS: Final = 120
_RENDERED: Final = 48
_NEAR: Final = 10
_TRIES: Final = 60
_WITHOUT_HANDS: Final = 5
"""Pictures without hands for each scene of another kind."""


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
    """A photograph of a closed hand in a larger picture, whose wall goes on."""
    import cv2

    closed = [photograph for photograph in library.photographs if photograph.is_closed]
    photograph = closed[rng.integers(len(closed))]
    width, height = ((640, 480), (480, 640), (320, 240), (1280, 960))[rng.integers(4)]
    side = int(np.exp(rng.uniform(np.log(0.25), np.log(0.95))) * min(width, height))
    corner = np.array([rng.integers(width - side + 1), height - side])
    larger = cv2.resize(photograph.image, (side, side), interpolation=cv2.INTER_CUBIC)
    wall = np.median(photograph.image[:30, [0, -1]].reshape(-1, 3), axis=0)
    light = 1 + rng.uniform(-0.25, 0.15) * np.linspace(0, 1, width)[None, :, None]
    picture = np.full((height, width, 3), wall) * light
    within = np.zeros((side, side), np.float32)
    edge = max(2, side // 16)
    within[edge:, edge:-edge] = 1
    cover = cv2.GaussianBlur(within, (0, 0), edge / 2, borderType=cv2.BORDER_REPLICATE)[..., None]
    part = picture[corner[1] :, corner[0] : corner[0] + side]
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
        for number in range(scenes * (_WITHOUT_HANDS if kind == "none" else 1)):
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


def write_scenes(scenes: Iterator[Scene], folder: Path) -> Iterator[Scene]:
    """Write each scene's picture into a folder as it passes, and ``coco.json`` after the last."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        name = f"{scene.kind}_{number:05d}.png"
        # Lossless: a scene is JPEG already, and what is measured here and there is the same.
        Image.fromarray(scene.image).save(folder / name)
        height, width = scene.image.shape[:2]
        images.append({"id": number, "file_name": name, "width": width, "height": height, "kind": scene.kind})
        for hand, seen in zip(scene.hands, scene.is_joint_seen, strict=True):
            annotations.append(_annotation(len(annotations) + 1, number, hand, seen))
        yield scene
    truth = {"images": images, "annotations": annotations, "categories": [CATEGORY]}
    (folder / "coco.json").write_text(json.dumps(truth), encoding="utf-8")


def _annotation(number: int, image: int, hand: TrueHand, seen: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's: flag 2 is a joint that is seen, 1 one that is hidden or outside of the picture."""
    assert hand.joints_px is not None
    x0, y0, x1, y1 = np.round(hand.box_px, 3).tolist()
    flags = np.where(seen, 2, 1)[:, None]
    return {
        "id": number,
        "image_id": image,
        "category_id": CATEGORY["id"],
        "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
        "area": round((x1 - x0) * (y1 - y0), 3),
        "keypoints": np.column_stack([np.round(hand.joints_px, 3), flags]).ravel().tolist(),
        "num_keypoints": 21,
        "iscrowd": int(hand.is_ignored),
        "side": hand.side,
    }


@dataclass(frozen=True, eq=False)
class Measurement:
    """A scene, what was found in it, and how long it took."""

    scene: Scene
    match: PictureMatch
    milliseconds: float


def measure(scenes: Iterator[Scene], detector: HandDetector) -> Iterator[Measurement]:
    """Look into one scene after the other."""
    for scene in scenes:
        started = time.perf_counter()
        detections = detector.detect([scene.image])[0]
        milliseconds = 1000 * (time.perf_counter() - started)
        height, width = scene.image.shape[:2]
        yield Measurement(scene, match_picture(scene.hands, detections, (width, height)), milliseconds)


def summarise(measured: list[Measurement]) -> dict[str, Any]:
    """Scores of all and by the size of hands, of clasped pairs and of pictures without hands."""
    matches = [one.match for one in measured]
    pairs = [one for one in measured if one.scene.pair is not None]
    both = sum(all(one.match.found_by[hand] is not None for hand in one.scene.pair or ()) for one in pairs)
    false_in = sorted(one.scene.shows for one in measured if one.scene.shows and any(one.match.is_false))
    large = score_detections(matches, lambda size: size >= 60)
    times = np.array([one.milliseconds for one in measured])
    return {
        **asdict(score_detections(matches)),
        "recall_from_60_px": large.recall,
        "doubled_share_from_60_px": large.doubled_share,
        "pairs": len(pairs),
        "pairs_found_as_two": both,
        "false_in": false_in,
        "ms_mean": round(float(times.mean()), 1),
        "ms_median": round(float(np.median(times)), 1),
        "by_size": {
            name: {
                key: value
                for key, value in asdict(scores).items()
                if key
                in (
                    "hands",
                    "recall",
                    "precision",
                    "doubled",
                    "false",
                    "side_accuracy",
                    "pck",
                    "mean_error_percent",
                )
            }
            for name, scores in score_by_size(matches).items()
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    line = "folder of the Sign Language Digits: PERSON/DIGIT.jpg; without it only rendered hands"
    parser.add_argument("--photos", type=Path, metavar="DIR", help=line)
    line = "folder of HaMeR's example photographs, test1.jpg to test5.jpg: their parts without hands"
    parser.add_argument("--wild", type=Path, metavar="DIR", help=line)
    line = f"scenes of each kind, {_WITHOUT_HANDS} times as many without hands (default: 40)"
    parser.add_argument("--scenes", type=int, default=40, metavar="N", help=line)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="(default: %(default)s)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="leave the pictures and coco.json there")
    parser.add_argument("--no-measure", action="store_true", help="only write")
    add_detector_arguments(parser)
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := sorted(set(kinds) - set(KINDS)):
        parser.error(f"--kinds: {', '.join(unknown)} is none of {', '.join(KINDS)}")
    detector_options = read_detector_options(options)
    truth = open_detector(DetectorOptions(mediapipe_model=options.model))
    library = Library.make(options.seed, options.photos, options.wild, truth)
    truth.close()
    scenes = make_scenes(library, kinds, options.scenes, options.seed)
    if options.write:
        scenes = write_scenes(scenes, options.write)
    if options.no_measure:
        print(json.dumps({"scenes": sum(1 for _ in scenes), "written": str(options.write)}))
        return
    detector = open_detector(detector_options)
    detector.detect([np.zeros((256, 256, 3), np.uint8)])
    measured = list(measure(scenes, detector))
    detector.close()
    by_kind = {kind: [one for one in measured if one.scene.kind == kind] for kind in kinds}
    report = {
        "settings": {
            "detector": detector_options.chain,
            "described": describe_detector(detector_options),
            "quick": detector_options.quick,
            "scenes": options.scenes,
            "seed": options.seed,
            "kinds": kinds,
            "photographs": len(library.photographs),
            "photographs_left_out": library.photographs_left_out,
            "rendered": len(library.rendered) + len(library.near),
            "machine": platform.machine(),
            "python": platform.python_version(),
        },
        "all": summarise(measured),
        "by_kind": {kind: summarise(some) for kind, some in by_kind.items() if some},
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

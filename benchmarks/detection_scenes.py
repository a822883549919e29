"""How well hands are found in scenes whose truth is known: recall, mistakes, joints and time, as JSON.

    python -m benchmarks.detection_scenes --photos DIR [--wild DIR] [--scenes N] [--seed S]
        [--kinds grid,none] [--detector NAME] [--quick] [--write DIR [--no-measure]]

Scenes are composed from hands cut out of photographs (the Sign Language Digits dataset, ``--photos``) and of
rendered ones, see `hand_scenes`. ``--write`` leaves pictures and ``coco.json`` behind, so that any detector,
also another version's, can be measured on the same ones with `handsim evaluate detection`.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.cli.detector import add_detector_arguments, read_detector_options
from benchmarks.hand_scenes import KINDS, Library, Scene, make_scenes
from handsim.coco import CATEGORY
from handsim.detection import DetectorOptions, HandDetector, describe_detector, open_detector
from handsim.metrics.detection import (
    PictureMatch,
    TrueHand,
    match_picture,
    score_by_size,
    score_detections,
)

_BY_SIZE: Final = (
    "hands",
    "recall",
    "precision",
    "doubled",
    "false",
    "side_accuracy",
    "pck",
    "mean_error_percent",
)
_JOINTS_SEEN: Final = (0.0, 0.5, 0.7, 0.85, 1.01)
"""Where the buckets of clasped pairs begin and end: shares of the joints of the hand that is hidden more."""


def write_scenes(scenes: Iterator[Scene], folder: Path) -> Iterator[Scene]:
    """Write each scene's picture into a folder as it passes, and ``coco.json`` after the last."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        name = f"{scene.kind}_{number:05d}.png"
        # Lossless: a scene is JPEG already, and what is measured here and there is the same.
        Image.fromarray(scene.image).save(folder / name, compress_level=1)
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
    """What was found in a scene, and how long it took; the picture is not kept."""

    kind: str
    shows: str
    pair: tuple[int, int] | None
    pair_seen: float | None
    """Of the clasped hand that is hidden more: the share of its joints that are seen."""
    match: PictureMatch
    milliseconds: float


def measure(scenes: Iterator[Scene], detector: HandDetector) -> Iterator[Measurement]:
    """Look into one scene after the other."""
    for scene in scenes:
        started = time.perf_counter()
        detections = detector.detect([scene.image])[0]
        milliseconds = 1000 * (time.perf_counter() - started)
        height, width = scene.image.shape[:2]
        match = match_picture(scene.hands, detections, (width, height))
        seen = None if scene.pair is None else min(scene.is_joint_seen[hand].mean() for hand in scene.pair)
        yield Measurement(scene.kind, scene.shows, scene.pair, seen, match, milliseconds)


def summarise(measured: list[Measurement]) -> dict[str, Any]:
    """Scores of all and by the size of hands, of clasped pairs and of pictures without hands."""
    matches = [one.match for one in measured]
    pairs = [one for one in measured if one.pair is not None]
    large = score_detections(matches, lambda size: size >= 60)
    times = np.array([one.milliseconds for one in measured])
    by_size = {name: asdict(scores) for name, scores in score_by_size(matches).items()}
    return {
        **asdict(score_detections(matches)),
        "recall_from_60_px": large.recall,
        "doubled_share_from_60_px": large.doubled_share,
        "pairs": len(pairs),
        "pairs_found_as_two": sum(map(_is_found_as_two, pairs)),
        "pairs_by_joints_seen": _score_pairs_by_joints_seen(pairs),
        "false_in": sorted(one.shows for one in measured if one.shows and any(one.match.is_false)),
        "ms_mean": round(float(times.mean()), 1),
        "ms_median": round(float(np.median(times)), 1),
        "by_size": {name: {key: scores[key] for key in _BY_SIZE} for name, scores in by_size.items()},
    }


def _is_found_as_two(pair: Measurement) -> bool:
    return all(pair.match.found_by[hand] is not None for hand in pair.pair or ())


def _score_pairs_by_joints_seen(pairs: list[Measurement]) -> dict[str, dict[str, int]]:
    """How many pairs are found as two, by how much is seen of the hand that is hidden more."""
    buckets = {}
    for low, high in pairwise(_JOINTS_SEEN):
        some = [one for one in pairs if one.pair_seen is not None and low <= one.pair_seen < high]
        name = f"{low:g}-" + (f"{high:g}" if high < 1 else "")
        buckets[name] = {"pairs": len(some), "found_as_two": sum(map(_is_found_as_two, some))}
    return buckets


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    line = "folder of the Sign Language Digits: PERSON/DIGIT.jpg; without it only rendered hands"
    parser.add_argument("--photos", type=Path, metavar="DIR", help=line)
    line = "folder of HaMeR's example photographs, test1.jpg to test5.jpg: their parts without hands"
    parser.add_argument("--wild", type=Path, metavar="DIR", help=line)
    line = "scenes of each kind; plain ones 4, and those without hands 5 times as many (default: 40)"
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
    by_kind = {kind: [one for one in measured if one.kind == kind] for kind in kinds}
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

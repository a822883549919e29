"""``handsim predict``: the 3D pose of every hand in pictures and videos.

Estimated hands of photographs and videos: in JSON, and drawn.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import find_estimator, find_home, progress_bar
from apps.cli.main import EXIT_BAD_INPUT
from handsim.detection import open_detector, require_model
from handsim.drawing import HandDrawing, draw_hands
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.hand import SIDES, Side
from training.finetune.predictor import Inference
from training.predict import EstimatedHand, HandPlace, Picture, estimate_hands, is_video, pictures_of

if TYPE_CHECKING:
    from training.finetune.predictor import Inference


_EPILOG: Final = """\
Drawn pictures and a JSON file for each input go to --out; --json prints the same JSON, and writes files only
where --out is given. A file that cannot be used is reported, and the others go on; the exit code is then 2,
as it is where no hand was found at all. A hand is as large as the mean one of those that were trained on: how
large it is, a picture does not tell.
"""
_NOTHING_FOUND: Final = "no hand was found; try a picture where one is larger or clearer, or give its --box"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("files", nargs="+", type=Path, metavar="IMAGE|VIDEO", help="what to look at")
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="RUN|FILE",
        help="a run of `handsim finetune`, of which the best checkpoint is taken, or a checkpoint's file",
    )
    parser.add_argument("--last", action="store_true", help="take the run's last checkpoint")
    where = parser.add_argument_group("where the hands are (default: MediaPipe looks for them)")
    either = where.add_mutually_exclusive_group()
    either.add_argument(
        "--box", type=_box, metavar="x0,y0,x1,y1", help="one hand, in this box, tight, in pixels"
    )
    either.add_argument("--whole", action="store_true", help="each picture is the crop of one hand")
    where.add_argument("--side", choices=SIDES, help="whose hand that is, with --box and --whole (right)")
    where.add_argument(
        "--no-retry", action="store_true", help="look at each picture once: faster, finds fewer"
    )
    where.add_argument("--model", type=Path, metavar="FILE", help="hand_landmarker.task (default: the cache)")
    parser.add_argument(
        "--focal-px",
        type=float,
        metavar="F",
        help="the camera's focal length in pixels: hands are then placed in the camera, too",
    )
    parser.add_argument(
        "--every-seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="between frames of a video (%(default)g)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: predictions/ in the home)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _box(text: str) -> list[float]:
    """Four numbers; argparse tells what is wrong with others."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers, as in 40,60,210,230")
    return numbers


def _run(options: argparse.Namespace) -> int:
    _check(options)
    # Only here: `handsim predict --help` does without torch.
    pass  # MERGED
    from training.finetune.predictor import load_estimator

    home = find_home(options)
    inference = load_estimator(find_estimator(options.checkpoint, home, last=options.last))
    if inference.config.estimator.head == "regressor_25d" and options.focal_px is None:
        raise HandsimError(
            "this estimator's head, regressor_25d, tells a pose by the camera it is seen with; give the "
            "focal length in pixels with --focal-px"
        )
    out = options.out or (None if options.json else home.path / "predictions")
    found: list[FilePrediction] = []
    with _finder(options, inference) as find, progress_bar("predicting", "picture") as progress:
        predictor = Predictor(inference, find, options.focal_px, options.every_seconds, out)
        for one in predict_files(options.files, predictor, progress):
            found.append(one)
            if one.problem is not None:
                told = f"{one.facts['file']} cannot be used ({one.problem}); give whole pictures or videos"
                print(f"handsim: {told}", file=sys.stderr)
    if options.json:
        print(json.dumps([one.facts for one in found]))
    else:
        for one in found:
            if one.pictures:
                print(_line(one))
    looked_at = any(one.pictures for one in found)
    if looked_at and not any(one.hands for one in found):
        print(f"handsim: {_NOTHING_FOUND}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_BAD_INPUT if any(one.problem is not None for one in found) else 0


def _check(options: argparse.Namespace) -> None:
    for option, value in (("--focal-px", options.focal_px), ("--every-seconds", options.every_seconds)):
        if value is not None and not 0 < value < np.inf:
            raise HandsimError(f"{option} is {value:g}; it is more than 0")
    if options.side is not None and options.box is None and not options.whole:
        raise HandsimError(
            "--side goes with --box or --whole; where MediaPipe looks, it tells the side itself"
        )


@contextmanager
def _finder(options: argparse.Namespace, inference: "Inference") -> "Iterator[Find]":
    """Who says where a picture's hands are."""
    from training.predict import place_of_box, place_of_detection, whole_picture

    side: Side = options.side or "right"
    if options.box is not None:
        yield lambda image: [place_of_box(options.box, side, _size(image), inference)]
    elif options.whole:
        yield lambda image: [whole_picture(side, _size(image))]
    else:
        with closing(open_detector(require_model(options.model), retry=not options.no_retry)) as detector:
            yield lambda image: [
                place_of_detection(found, _size(image), inference) for found in detector.detect(image)
            ]


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _line(one: "FilePrediction") -> str:
    """What was said of one file."""
    hands = f"{one.hands:,} hand{'' if one.hands == 1 else 's'}"
    frames = f" in {one.pictures:,} frames" if "frames" in one.facts else ""
    where = f", {one.written[0]}" if one.written else ""
    return f"{one.facts['file']}: {hands}{frames}{where}"


_JPEG_QUALITY: Final = 92
_DECIMALS: Final = 3
"""Of pixels, millimetres and confidences."""

Find = Callable[[NDArray[np.uint8]], list[HandPlace]]
"""Where the hands of a picture [H, W, 3] are."""


@dataclass(frozen=True)
class Predictor:
    """Everything that decides what is said of a picture."""

    inference: Inference
    """The estimator."""
    find: Find
    """Where it is to look."""
    focal_px: float | None
    """The camera's focal length in pixels, where it is known."""
    every_s: float
    """Seconds between the frames of a video."""
    out: Path | None
    """Where JSON and drawings go; None: nowhere."""


@dataclass(frozen=True)
class FilePrediction:
    """What was said of one file."""

    facts: dict[str, Any]
    """As JSON: ``file``, and ``hands`` of a photograph or ``frames`` with hands of a video."""
    pictures: int
    """How many were looked at."""
    hands: int
    """How many were estimated."""
    written: tuple[Path, ...] = field(default=())
    """Its JSON, then its drawings."""
    problem: HandsimError | None = None
    """Why the file, or the rest of it, could not be used."""


def predict_files(
    paths: Sequence[Path], predictor: Predictor, progress: Callable[[int, int], None]
) -> Iterator[FilePrediction]:
    """Estimate all hands of each file; one that cannot be used does not stop the others.

    ``progress`` is told (pictures done, 0). Raises HandsimError where the output cannot be written or would
    be written over one of the files, and for what is wrong with every picture alike.
    """
    taken: set[str] = set()
    names = [_unused(path.stem, taken) for path in paths]
    _check_originals(paths, names, predictor.out)
    done = 0

    def looked_at() -> None:
        nonlocal done
        done += 1
        progress(done, 0)

    for path, name in zip(paths, names, strict=True):
        yield _predict_file(path, name, predictor, looked_at)


def _check_originals(paths: Sequence[Path], names: Sequence[str], out: Path | None) -> None:
    if out is None:
        return
    originals = {path.resolve() for path in paths}
    for path, name in zip(paths, names, strict=True):
        drawn = out / f"{name}.jpg"
        if not is_video(path) and drawn.resolve() in originals:
            raise HandsimError(f"what is drawn of {path} would be written over {drawn}; name another --out")


def _predict_file(
    path: Path, name: str, predictor: Predictor, looked_at: Callable[[], None]
) -> FilePrediction:
    told: list[dict[str, Any]] = []
    written: list[Path] = []
    problem: HandsimError | None = None
    pictures = pictures_of(path, predictor.every_s)
    while True:
        try:
            picture = next(pictures, None)
        except HandsimError as error:  # of this file alone; what the estimator raises is of all of them
            problem, picture = error, None
        if picture is None:
            break
        hands = _estimate(picture, predictor)
        told.append(_facts(picture, hands))
        if predictor.out is not None:
            drawn = _drawing_path(predictor.out, name, picture)
            _draw(picture, hands, drawn)
            told[-1]["drawn"] = str(drawn.relative_to(predictor.out))
            written.append(drawn)
        looked_at()
    facts = {"file": str(path), **({"frames": told} if is_video(path) else told[0] if told else {})}
    if problem is not None:
        facts["problem"] = str(problem)
    if predictor.out is not None and told:
        answer = predictor.out / f"{name}.json"
        write_text_atomically(answer, json.dumps(facts) + "\n")
        written.insert(0, answer)
    count = sum(len(each["hands"]) for each in told)
    return FilePrediction(facts, len(told), count, tuple(written), problem)


def _estimate(picture: Picture, predictor: Predictor) -> list[EstimatedHand]:
    places = predictor.find(picture.image)
    return estimate_hands(predictor.inference, picture.image, places, predictor.focal_px)


def _facts(picture: Picture, hands: Sequence[EstimatedHand]) -> dict[str, Any]:
    height, width = picture.image.shape[:2]
    facts: dict[str, Any] = (
        {} if picture.frame is None else {"frame": picture.frame, "time_s": picture.time_s}
    )
    return {**facts, "width": width, "height": height, "hands": [hand_facts(hand) for hand in hands]}


def hand_facts(hand: EstimatedHand) -> dict[str, Any]:
    """A hand as plain values; ``camera_3d_mm`` only where the focal length was given."""
    place = hand.place
    facts: dict[str, Any] = {
        "side": place.side,
        "score": None if place.score is None else round(place.score, _DECIMALS),
        "box_px": _rounded(place.box_px),
        "square_px": _rounded(place.square_px),
        "keypoints_2d_px": _rounded(hand.keypoints_2d_px),
        "confidence": _rounded(hand.confidence),
        "joints_3d_mm": _rounded(hand.joints_3d_mm),
    }
    if hand.camera_3d_mm is not None:
        facts["camera_3d_mm"] = _rounded(hand.camera_3d_mm)
    return facts


def _rounded(numbers: NDArray[np.floating]) -> list[Any]:
    # As float64: rounded float32 would print all their digits.
    rounded: list[Any] = numbers.astype(np.float64).round(_DECIMALS).tolist()
    return rounded


def _draw(picture: Picture, hands: Sequence[EstimatedHand], path: Path) -> None:
    """Nearer bones over farther ones."""
    drawings = [
        HandDrawing(
            np.concatenate([hand.keypoints_2d_px, hand.joints_3d_mm[:, 2:]], axis=1), _caption(hand.place)
        )
        for hand in hands
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_hands(picture.image, drawings).save(path, "JPEG", quality=_JPEG_QUALITY)
    except OSError as error:
        raise HandsimError(
            f"{path} cannot be written ({error.strerror or error}); name another --out"
        ) from error


def _caption(place: HandPlace) -> str:
    return place.side if place.score is None else f"{place.side} {place.score:.2f}"


def _drawing_path(out: Path, name: str, picture: Picture) -> Path:
    return out / (f"{name}.jpg" if picture.frame is None else f"{name}/{picture.frame:06d}.jpg")


def _unused(stem: str, names: set[str]) -> str:
    """The file's name without its suffix; a second one of that name gets a number."""
    name, number = stem, 2
    while name in names:
        name, number = f"{stem}-{number}", number + 1
    names.add(name)
    return name

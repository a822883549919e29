"""``handsim predict``: the 3D pose of every hand in pictures and videos."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli import EXIT_BAD_INPUT
from apps.places import estimator_of, home_of
from apps.progress import progress_bar
from handsim.errors import HandsimError
from handsim.hand import SIDES, Side
from handsim.keypoints.ladder import open_detector
from handsim.keypoints.model_file import require_model

if TYPE_CHECKING:
    from apps.prediction import FilePrediction, Find
    from training.finetune.inference import Inference

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
    from apps.prediction import Predictor, predict_files
    from training.finetune.inference import load_estimator

    home = home_of(options)
    inference = load_estimator(estimator_of(options.checkpoint, home, last=options.last))
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
    from training.prediction.places import place_of_box, place_of_detection, whole_picture

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

"""``handsim predict``: the 3D pose of every hand in images and videos, in JSON and drawn.

One file after the other is read, frame by frame; what cannot be used is reported, and the others go on.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import find_estimator, find_home, progress_bar
from apps.cli.detector import add_detector_arguments, read_detector_options
from apps.cli.main import EXIT_BAD_INPUT
from handsim.detection.detector import UndetectedError
from handsim.errors import HandsimError, Remark
from handsim.files import write_text_atomically
from handsim.hand import SIDES, Side

if TYPE_CHECKING:
    from training.finetune.predictor import Inference
    from training.predict import EstimatedHand, HandPlace, Picture

_EPILOG: Final = """\
Drawings and a JSON file for each input go to --out; --json prints the same JSON, and writes files only where
--out is given. A file that cannot be used is reported, and the others go on; the exit code is then 2, as it
is where no hand was found at all. An image does not show how large a hand is: each is given the mean size of
the hands in the training set.
"""
_NO_HAND: Final = "no hand was found; try an image where one is larger or clearer, or give its --box"
_DETECTOR_FAILED: Final = "the detector failed"
_JPEG_QUALITY: Final = 92
_DECIMALS: Final = 3
"""Of pixels, millimetres and confidences."""

FindHands = Callable[["Picture"], "list[HandPlace]"]
"""Where the hands of an image are, in its pixels as it was decoded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="IMAGE|VIDEO", help="the files; animations are videos"
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="RUN|FILE",
        help="a run of `handsim finetune`, of which the best checkpoint is taken, or a checkpoint's file",
    )
    parser.add_argument("--last", action="store_true", help="take the run's last checkpoint")
    where = parser.add_argument_group("where the hands are (default: a detector looks for them)")
    either = where.add_mutually_exclusive_group()
    either.add_argument(
        "--box", type=_parse_box, metavar="x0,y0,x1,y1", help="one hand, in this tight box in px"
    )
    either.add_argument("--whole", action="store_true", help="each image is the crop of one hand")
    where.add_argument("--side", choices=SIDES, help="whose hand that is, with --box and --whole (right)")
    add_detector_arguments(where)
    line = "the camera's focal length in pixels: then joints in the camera's frame are given, too"
    parser.add_argument("--focal-px", type=float, metavar="F", help=line)
    line = "between frames of a video (%(default)g)"
    parser.add_argument("--every-seconds", type=float, default=1.0, metavar="S", help=line)
    line = "where to write (default: predictions/ in the home)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=line)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _parse_box(text: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers, as in 40,60,210,230")
    return numbers


def _run(options: argparse.Namespace) -> int:
    _check(options)
    from training.finetune.predictor import load_estimator

    home = find_home(options)
    inference = load_estimator(find_estimator(options.checkpoint, home, last=options.last))
    if inference.config.estimator.head == "regressor_25d" and options.focal_px is None:
        raise HandsimError(
            "this estimator's head, regressor_25d, needs the camera to place the joints in depth; give the "
            "focal length in pixels with --focal-px"
        )
    out = options.out or (None if options.json else home.path / "predictions")
    results: list[FileResult] = []
    with _hand_finder(options, inference) as find, progress_bar("predicting", "picture") as progress:
        predictor = Predictor(inference, find, options.focal_px, options.every_seconds, out)
        for result in predictor.predict_files(options.files, progress):
            results.append(result)
            for remark in result.content.get("remarks", ()):
                line = f"handsim: {result.content['file']}: {remark['reason']}"
                print(line + (f" ({remark['detail']})" if remark["detail"] else ""), file=sys.stderr)
            if (problem := result.content.get("problem")) is not None:
                file = result.content["file"]
                if problem.startswith(_DETECTOR_FAILED):
                    print(f"handsim: {file}: {problem}; mend it, and run again", file=sys.stderr)
                else:
                    line = f"handsim: {file} cannot be used ({problem})"
                    print(f"{line}; give whole images or videos", file=sys.stderr)
    if options.json:
        print(json.dumps([result.content for result in results]))
    else:
        for result in results:
            if result.pictures:
                print(_summarize(result))
    if any(result.pictures for result in results) and not any(result.hands for result in results):
        print(f"handsim: {_NO_HAND}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_BAD_INPUT if any("problem" in result.content for result in results) else 0


def _check(options: argparse.Namespace) -> None:
    for option, value in (("--focal-px", options.focal_px), ("--every-seconds", options.every_seconds)):
        if value is not None and not 0 < value < np.inf:
            raise HandsimError(f"{option} is {value:g}; it is more than 0")
    if options.side is not None and options.box is None and not options.whole:
        raise HandsimError("--side goes with --box or --whole; else a detector looks, and finds the side")
    if options.mirrored and (options.box is not None or options.whole):
        raise HandsimError(
            "--mirrored is for a detector; with --box or --whole give the --side it looks like"
        )


@contextmanager
def _hand_finder(options: argparse.Namespace, inference: "Inference") -> Iterator[FindHands]:
    from handsim.detection import open_detector
    from training.predict import place_of_box, place_of_detection, place_of_whole_picture

    side: Side = options.side or "right"
    if options.box is not None:
        yield lambda picture: [
            place_of_box(np.multiply(options.box, picture.scale), side, _size(picture), inference)
        ]
    elif options.whole:
        yield lambda picture: [place_of_whole_picture(side, _size(picture))]
    else:
        with closing(open_detector(read_detector_options(options))) as detector:
            yield lambda picture: [
                place_of_detection(detection, _size(picture), inference)
                for detection in detector.detect([picture.image])[0]
            ]


def _size(picture: "Picture") -> tuple[int, int]:
    return picture.image.shape[1], picture.image.shape[0]


def _summarize(result: "FileResult") -> str:
    hands = f"{result.hands:,} hand{'' if result.hands == 1 else 's'}"
    frames = f" in {result.pictures:,} frames" if "frames" in result.content else ""
    written = "" if result.json_path is None else f", {result.json_path}"
    return f"{result.content['file']}: {hands}{frames}{written}"


@dataclass(frozen=True)
class FileResult:
    """The estimated hands of one file."""

    content: dict[str, Any]
    """For JSON: ``file``, ``hands`` of an image or ``frames`` of a video; ``problem`` and ``remarks`` if
    there were any."""
    pictures: int
    """Images or frames that were looked at."""
    hands: int
    json_path: Path | None
    """The JSON file, if one was written."""


@dataclass(frozen=True)
class Predictor:
    """Estimates the hands of files."""

    inference: "Inference"
    find: FindHands
    focal_px: float | None
    """The camera's focal length in pixels, if it is known."""
    every_s: float
    """Seconds between the frames of a video."""
    out: Path | None
    """The folder for JSON and drawings; None writes none."""

    def predict_files(
        self, paths: Sequence[Path], progress: Callable[[int, int], None]
    ) -> Iterator[FileResult]:
        """Estimate all hands of each file; one that cannot be used does not stop the others.

        ``progress`` gets the pictures done, and 0, as the number of frames is unknown. Raises HandsimError if
        the output cannot be written or would overwrite one of the files, and for an error of the estimator.
        """
        names: list[str] = []
        for path in paths:
            names.append(_unused_name(path.stem, names))
        if self.out is not None:
            _check_originals(paths, [self.out / f"{name}.jpg" for name in names])
        numbers = count(1)
        for path, name in zip(paths, names, strict=True):
            yield self._predict_file(path, name, lambda: progress(next(numbers), 0))

    def _predict_file(self, path: Path, name: str, update: Callable[[], None]) -> FileResult:
        from training.predict import estimate_hands, is_video, read_pictures

        frames: list[dict[str, Any]] = []
        content: dict[str, Any] = {"file": str(path)}
        remarks: list[Remark] = []
        unknown = 0
        pictures = read_pictures(path, self.every_s, remarks)
        while True:
            try:
                picture = next(pictures)
            except StopIteration:
                break
            except HandsimError as error:  # of this file alone; an error of the estimator ends them all
                content["problem"] = str(error)
                break
            focal_px = None if self.focal_px is None else self.focal_px * picture.scale
            try:
                places = self.find(picture)
            except UndetectedError as error:  # of this picture alone
                content["problem"] = f"{_DETECTOR_FAILED}: {error}"
                continue
            hands = estimate_hands(self.inference, picture.image, places, focal_px)
            frame = _picture_to_json(picture, hands)
            if self.out is not None:
                drawing = f"{name}.jpg" if picture.frame is None else f"{name}/{picture.frame:06d}.jpg"
                _draw(picture, hands, self.out / drawing)
                frame["drawn"] = drawing
            frames.append(frame)
            unknown += sum(hand.place.side == "unknown" for hand in hands)
            update()
        if unknown:
            remarks.append(Remark("hands of unknown side", f"{unknown:,}; estimated as right hands"))
        if remarks:
            content["remarks"] = [vars(remark) for remark in remarks]
        if is_video(path):
            content["frames"] = frames
        elif frames:
            content |= frames[0]
        json_path = None
        if self.out is not None and frames:
            json_path = self.out / f"{name}.json"
            write_text_atomically(json_path, json.dumps(content) + "\n")
        return FileResult(content, len(frames), sum(len(frame["hands"]) for frame in frames), json_path)


def _picture_to_json(picture: "Picture", hands: "Sequence[EstimatedHand]") -> dict[str, Any]:
    width, height = (round(side / picture.scale) for side in _size(picture))
    time = {} if picture.frame is None else {"frame": picture.frame, "time_s": picture.time_s}
    return {
        **time,
        "width": width,
        "height": height,
        "hands": [_hand_to_json(hand, picture.scale) for hand in hands],
    }


def _hand_to_json(hand: "EstimatedHand", scale: float) -> dict[str, Any]:
    """Pixels are the file's own. ``camera_3d_mm`` is there only if the focal length was given."""
    place = hand.place
    values: dict[str, Any] = {
        "side": place.side,
        "score": None if place.score is None else round(place.score, _DECIMALS),
        "box_px": _round(place.box_px / scale),
        "square_px": _round(place.square_px / scale),
        "keypoints_2d_px": _round(hand.keypoints_2d_px / scale),
        "confidence": _round(hand.confidence),
        "joints_3d_mm": _round(hand.joints_3d_mm),
    }
    if hand.camera_3d_mm is not None:
        values["camera_3d_mm"] = _round(hand.camera_3d_mm)
    return values


def _round(numbers: NDArray[np.floating]) -> list[Any]:
    # As float64: rounded float32 would print all their digits.
    rounded: list[Any] = numbers.astype(np.float64).round(_DECIMALS).tolist()
    return rounded


def _draw(picture: "Picture", hands: "Sequence[EstimatedHand]", path: Path) -> None:
    """Bones that are nearer cover those behind them."""
    from handsim.drawing import HandDrawing, draw_hands

    drawings = []
    for hand in hands:
        place = hand.place
        caption = place.side if place.score is None else f"{place.side} {place.score:.2f}"
        joints = np.concatenate([hand.keypoints_2d_px, hand.joints_3d_mm[:, 2:]], axis=1)
        drawings.append(HandDrawing(joints, caption))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_hands(picture.image, drawings).save(path, "JPEG", quality=_JPEG_QUALITY)
    except OSError as error:
        why = error.strerror or error
        raise HandsimError(f"{path} cannot be written ({why}); name another --out") from error


def _check_originals(paths: Sequence[Path], drawings: Sequence[Path]) -> None:
    from training.predict import is_video

    originals = {path.resolve() for path in paths}
    for path, drawing in zip(paths, drawings, strict=True):
        if not is_video(path) and drawing.resolve() in originals:
            raise HandsimError(f"the drawing of {path} would be written over {drawing}; name another --out")


def _unused_name(stem: str, names: Sequence[str]) -> str:
    """``stem``, or ``stem-2`` and so on for further files of that name."""
    name, number = stem, 2
    while name in names:
        name, number = f"{stem}-{number}", number + 1
    return name

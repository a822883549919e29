"""``handsim predict``: the 3D pose of every hand in images and videos, in JSON and drawn.

What cannot be used is reported, and the others go on: see `apps.cli.predict_files`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from apps.cli.console import check_folder_name, find_estimator, find_home, printable, progress_bar
from apps.cli.detector import add_detector_arguments, read_detector_options
from apps.cli.main import EXIT_BAD_INPUT
from apps.cli.predict_files import FileResult, FindCamera, FindHands, Predictor
from apps.extras import require_library
from handsim.detection import open_detector
from handsim.english import pluralize
from handsim.errors import HandsimError, Remark, UnusableError
from handsim.hand import SIDES, Side
from handsim.home import Home
from handsim.tracking.smoothing import check_strength

if TYPE_CHECKING:
    from training.finetune.pose_model import PoseModel
    from training.picture_tables import BoxTable
    from training.predict import HandPlace, Picture

_EPILOG: Final = """\
Drawings and a JSON file for each input go to --out; --json prints the same JSON, and writes files only where
--out is given. A file that cannot be used is reported, and the others go on; the exit code is then 2, as it
is where no hand was found at all. An image does not show how large a hand is: each is given the mean size of
the hands in the training set. In videos, a hand has the side of most of its frames, and its joints are
smoothed; what is drawn is also a video.
"""
_NO_HAND: Final = "no hand was found; try an image where one is larger or clearer, or give its --box"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="IMAGE|VIDEO", help="the files; animations are videos"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="RUN|FILE",
        help="a run of `handsim finetune`, of which the best checkpoint is taken, or a checkpoint's file, or "
        "the .onnx file that `handsim export` wrote of one: it is run without torch (--model FILE.onnx does, "
        "too)",
    )
    parser.add_argument("--last", action="store_true", help="take the run's last checkpoint")
    where = parser.add_argument_group("where the hands are (default: a detector looks for them)")
    either = where.add_mutually_exclusive_group()
    either.add_argument(
        "--box", type=_parse_box, metavar="x0,y0,x1,y1", help="one hand, in this tight box in px"
    )
    either.add_argument("--whole", action="store_true", help="each image is the crop of one hand")
    line = 'hands of many files, as in {"a.jpg": [[x0, y0, x1, y1]]} or COCO (docs/finetune.md)'
    either.add_argument("--boxes", type=Path, metavar="FILE", help=line)
    line = "whose hand that is, with --box and --whole (right), and --boxes (where it says none)"
    where.add_argument("--side", choices=SIDES, help=line)
    add_detector_arguments(where)
    line = "the camera's focal length in pixels: then joints in the camera's frame are given, too"
    parser.add_argument("--focal-px", type=float, metavar="F", help=line)
    line = 'cameras of many files, as in {"a.jpg": {"focal_px": 1400}} or {"a.jpg": {"K": [[...], ...]}}'
    parser.add_argument("--cameras", type=Path, metavar="FILE", help=line)
    videos = parser.add_argument_group("videos")
    line = "between frames of a video (%(default)g); 0: every frame"
    videos.add_argument("--every-seconds", type=float, default=1.0, metavar="S", help=line)
    line = "how much joints are smoothed over frames (%(default)g); 0: as estimated, 2: twice as slow"
    videos.add_argument("--smooth", type=float, default=1.0, metavar="STRENGTH", help=line)
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
    home = find_home(options)
    if options.out is not None:
        check_folder_name("--out", options.out)
    model = _open_model(options, home)
    out = options.out or (None if options.json else home.path / "predictions")
    results: list[FileResult] = []
    with (
        _hand_finder(options, model) as find_hands,
        _camera_finder(options, model) as find_camera,
        progress_bar("predicting", "picture") as progress,
    ):
        every_s, smoothing = options.every_seconds, options.smooth
        predictor = Predictor(model, find_hands, find_camera, every_s, smoothing, out)
        for result in predictor.predict_files(options.files, progress):
            results.append(result)
            for line in result.lines():
                print(f"handsim: {line}", file=sys.stderr)
    if options.json:
        print(json.dumps([result.content for result in results]))
    else:
        for result in results:
            if result.pictures:
                print(_summarize(result))
    if any(result.pictures for result in results) and not any(result.hands for result in results):
        print(f"handsim: {_NO_HAND}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_BAD_INPUT if any(result.is_flawed for result in results) else 0


def _open_model(options: argparse.Namespace, home: Home) -> "PoseModel":
    if Path(options.checkpoint).suffix == ".onnx":
        require_library("onnxruntime")
        from training.finetune.onnx_model import OnnxPoseModel

        return OnnxPoseModel(Path(options.checkpoint))
    from training.finetune.predictor import load_estimator

    return load_estimator(find_estimator(options.checkpoint, home, last=options.last))


def _check(options: argparse.Namespace) -> None:
    if options.checkpoint is None and options.model is not None and options.model.suffix == ".onnx":
        options.checkpoint, options.model = str(options.model), None  # MediaPipe's model is a .task file
    if options.checkpoint is None:
        raise HandsimError(
            "which estimator? Give a run of `handsim finetune` or a file with --checkpoint, or an exported "
            "one with --model FILE.onnx"
        )
    if options.last and Path(options.checkpoint).suffix == ".onnx":
        raise HandsimError(
            f"--last chooses among a run's checkpoints, and {options.checkpoint} is a file; leave it out"
        )
    if options.focal_px is not None and not 0 < options.focal_px < np.inf:
        raise HandsimError(f"--focal-px is {options.focal_px:g}; it is more than 0")
    if not 0 <= options.every_seconds < np.inf:
        raise HandsimError(f"--every-seconds is {options.every_seconds:g}; it is 0 (every frame) or more")
    check_strength(options.smooth)
    is_given = options.box is not None or options.boxes is not None or options.whole
    if options.side is not None and not is_given:
        raise HandsimError(
            "--side goes with --box, --boxes or --whole; else a detector looks, and finds the side"
        )
    if options.mirrored and is_given:
        raise HandsimError(
            "--mirrored is for a detector; with --box, --boxes or --whole give the side it looks like"
        )


@contextmanager
def _hand_finder(options: argparse.Namespace, model: "PoseModel") -> Iterator[FindHands]:
    from training.picture_tables import read_boxes
    from training.predict import place_of_box, place_of_detection, place_of_whole_picture

    side: Side = options.side or "right"
    if options.boxes is not None:
        table = read_boxes(options.boxes, options.side)
        yield lambda path, picture, remarks: _place_boxes(table, path, picture, remarks, model)
        _print_unused(table.unused())
    elif options.box is not None:
        yield lambda _, picture, __: [
            place_of_box(np.multiply(options.box, picture.scale), side, picture.size_px, model)
        ]
    elif options.whole:
        yield lambda _, picture, __: [place_of_whole_picture(side, picture.size_px)]
    else:
        with closing(open_detector(read_detector_options(options))) as detector:
            yield lambda _, picture, __: [
                place_of_detection(detection, picture.size_px, model)
                for detection in detector.detect([picture.image])[0]
            ]


def _place_boxes(
    table: "BoxTable", path: Path, picture: "Picture", remarks: list[Remark], model: "PoseModel"
) -> "list[HandPlace]":
    from training.picture_tables import BAD_BOX
    from training.predict import place_of_box

    hands = table.find(path)
    if hands is None:
        raise UnusableError("no boxes", f"{table.path} does not name it; name it there, with [] for no hand")
    remarks += [remark for remark in hands.remarks if remark not in remarks]  # once for all frames
    places = []
    for hand in hands.at(picture.frame):
        try:
            box_px = np.multiply(hand.box_px, picture.scale)
            places.append(place_of_box(box_px, hand.side, picture.size_px, model))
        except HandsimError as error:
            place = "" if hands.by_frame is None else f"frame {picture.frame}: "
            remark = Remark(BAD_BOX, f"{place}{error}")
            remarks += [] if remark in remarks else [remark]
    return places


@contextmanager
def _camera_finder(options: argparse.Namespace, model: "PoseModel") -> Iterator[FindCamera]:
    from training.picture_tables import Camera, read_cameras

    needs = "this estimator's head, regressor_25d, needs the camera to place the joints in depth; give the "
    usual = None if options.focal_px is None else Camera(options.focal_px)
    if options.cameras is None:
        if model.needs_camera and usual is None:
            raise HandsimError(f"{needs}focal length in pixels with --focal-px")
        yield lambda _, __: usual
        return
    table = read_cameras(options.cameras)

    def find(path: Path, remarks: list[Remark]) -> Camera | None:
        camera = table.find(path)
        if isinstance(camera, Remark):
            remarks.append(camera)
        if isinstance(camera, Camera):
            return camera
        if usual is None and model.needs_camera:
            raise UnusableError("no camera", f"{needs}camera in {table.path}, or --focal-px")
        if camera is None and usual is None:
            detail = f"{table.path} does not name it; name it there, or give --focal-px"
            remarks.append(Remark("no camera", detail))
        return usual

    yield find
    _print_unused(table.unused())


def _print_unused(lines: list[str]) -> None:
    for line in lines:
        print(f"handsim: {printable(line)}", file=sys.stderr)


def _summarize(result: "FileResult") -> str:
    hands = pluralize(result.hands, "hand")
    frames = ""
    if (tracks := result.content.get("tracks")) is not None:
        frames = f" in {pluralize(result.pictures, 'frame')}, {pluralize(len(tracks), 'track')}"
    written = "" if result.json_path is None else f", {result.json_path}"
    return f"{result.content['file']}: {hands}{frames}{written}"

"""``handsim evaluate detection``: how well a detector finds the labelled hands of pictures."""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from apps.cli.console import find_home, format_table, printable, progress_bar
from apps.cli.detector import add_detector_arguments, read_detector_options
from handsim.english import pluralize
from handsim.errors import HandsimError, UnusableError
from handsim.files import write_text_atomically
from handsim.metrics.detection import (
    MIN_IOU,
    RELATIVE_SIZES,
    DetectionScores,
    PictureMatch,
    match_picture,
    score_by_size,
    score_detections,
)
from handsim.processes import available_cores

_EPILOG: Final = """\
Into runs/NAME/ go detection.json (settings, scores of all hands and by size) and figures/worst.png: the
pictures with the gravest mistakes. Labels are of any format that `handsim ingest` reads; hands may have a box
alone, and then no joints are measured. Precision, and hands that are false, suppose that every hand of every
picture is labelled: where labels leave hands out (COCO-WholeBody's do), read recall alone. Joints are those
of the hands found.
"""
_SHOWN_FAILURES: Final = 5


@dataclass(frozen=True, eq=False)
class Comparison:
    """All pictures that could be read, and what went wrong with others."""

    compared: list[tuple[Path, PictureMatch]]
    """Of each picture the file, and how what was found compares with its labels."""
    left_out: Counter[str]
    """How many annotations and pictures, by the reason."""
    examples: dict[str, str]
    detector_failures: dict[Path, str]
    """Pictures that the detector failed on; they count with what it found all the same."""
    seconds: float

    @property
    def matches(self) -> list[PictureMatch]:
        return [match for _, match in self.compared]


def add_detection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    line = "annotations of hands: COCO, COCO-WholeBody, FreiHAND, JSON lines, ..."
    parser.add_argument("--labels", type=Path, required=True, metavar="FILE", help=line)
    line = "the folder of their pictures (default: that of the labels)"
    parser.add_argument("--images", type=Path, metavar="DIR", help=line)
    line = "overlap from which a detection shows a hand, intersection over union (%(default)s)"
    parser.add_argument("--min-iou", type=float, default=MIN_IOU, metavar="X", help=line)
    line = "ask nothing of hands whose box is smaller: neither missed nor false (%(default)s)"
    parser.add_argument("--min-size", type=float, default=0.0, metavar="PX", help=line)
    line = "processes that look for hands (default: one per core)"
    parser.add_argument("--workers", type=int, default=available_cores(), metavar="N", help=line)
    line = "name of the directory in runs/ (%(default)s)"
    parser.add_argument("--name", default="detection", metavar="RUN", help=line)
    add_detector_arguments(parser.add_argument_group("the detector"))
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from handsim.detection import describe_detector

    if not 0 < options.min_iou < 1:
        raise HandsimError(f"--min-iou is {options.min_iou:g}; it lies between 0 and 1")
    if options.workers < 1:
        raise HandsimError(f"--workers is {options.workers}; at least 1 is needed")
    folder = find_home(options).run(options.name)
    described = describe_detector(read_detector_options(options))
    with progress_bar("looking for hands", "picture") as progress:
        comparison = _compare(options, progress)
    if not comparison.compared:
        why = next(iter(comparison.examples.values()))
        raise HandsimError(f"no picture of {options.labels} can be used: {why}")
    report = _report(options, described, comparison)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "detection.json", json.dumps(report, indent=1) + "\n")
    has_figure = _write_figure(folder / "figures" / "worst.png", comparison)
    print(_format(options, comparison))
    print(f"\nwritten to {folder}" + ("" if has_figure else "; nothing went wrong, so there is no figure"))
    return 0


def _compare(options: argparse.Namespace, progress: Callable[[int, int], None]) -> Comparison:
    from handsim.detection import open_detector
    from handsim.detection.labelled_pictures import read_labelled_pictures
    from handsim.detection.parallel import PATIENCE_S, detect_in_files

    labelled = read_labelled_pictures(options.labels, options.images)
    detector = read_detector_options(options)
    paths = [picture.path for picture in labelled.pictures]
    compared: dict[int, tuple[Path, PictureMatch]] = {}
    failures: dict[Path, str] = {}
    started = time.perf_counter()
    looks = detect_in_files(
        paths,
        partial(open_detector, detector),
        options.workers,
        PATIENCE_S + detector.program_patience_s,
    )
    for done, (number, found) in enumerate(looks, start=1):
        progress(done, len(paths))
        if found.is_detectors:
            failures[paths[number]] = found.failure
        try:
            if found.size_px is None:
                raise UnusableError("unusable picture", found.failure)
            hands = labelled.pictures[number].true_hands(found.size_px, options.min_size)
        except UnusableError as error:
            labelled.leave_out(error.reason, f"{paths[number]}: {error.detail}")
            continue
        match = match_picture(hands, found.detections, found.size_px, options.min_iou)
        compared[number] = paths[number], match
    seconds = time.perf_counter() - started
    in_order = [compared[number] for number in sorted(compared)]
    return Comparison(in_order, labelled.left_out, labelled.examples, failures, seconds)


def _report(options: argparse.Namespace, described: str, comparison: Comparison) -> dict[str, Any]:
    matches = comparison.matches
    return {
        "settings": {
            "labels": str(options.labels),
            "images": None if options.images is None else str(options.images),
            "detector": options.detector,
            "described": described,
            "min_iou": options.min_iou,
            "min_size_px": options.min_size,
            "workers": options.workers,
        },
        "seconds": round(comparison.seconds, 3),
        "left_out": dict(comparison.left_out),
        "examples": comparison.examples,
        "detector_failures": {str(path): why for path, why in comparison.detector_failures.items()},
        "all": asdict(score_detections(matches)),
        "by_size_px": {name: asdict(scores) for name, scores in score_by_size(matches).items()},
        "by_relative_size": {
            name: asdict(scores)
            for name, scores in score_by_size(matches, RELATIVE_SIZES, relative=True).items()
        },
    }


def _write_figure(path: Path, comparison: Comparison) -> bool:
    """The worst pictures, drawn; False where there is none to draw."""
    from apps.cli.detection_figure import draw_worst

    sheet = draw_worst(comparison.compared)
    if sheet is None:
        path.unlink(missing_ok=True)  # of an earlier evaluation of that name
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return True


def _format(options: argparse.Namespace, comparison: Comparison) -> str:
    matches = comparison.matches
    scores = score_detections(matches)
    pace = len(matches) / comparison.seconds
    rows = [
        *(_row(f"{name} px", some) for name, some in score_by_size(matches).items()),
        _row("all", scores),
    ]
    header = ["box", ">hands", ">recall", ">precision", ">doubled", ">false", ">side", ">PCK@0.1", ">error"]
    lines = [
        f"{printable(options.detector)} on {pluralize(len(matches), 'picture')} of "
        f"{printable(options.labels.name)}, {pace:.1f} a second with "
        f"{pluralize(options.workers, 'process', 'processes')}\n",
        format_table(header, rows),
    ]
    if scores.joints:
        lines.append(
            "\nerror: mean distance of the joints of found hands, in percent of the longer side of the box"
        )
    if scores.sides_unknown:
        lines.append(f"the detector does not tell the side of {scores.sides_unknown:,} found hands")
    lines += [
        f"left out: {count:,} x {printable(reason)} ({printable(comparison.examples[reason])})"
        for reason, count in comparison.left_out.most_common()
    ]
    failures = list(comparison.detector_failures.items())
    lines += [
        f"the detector failed on {printable(str(path))}: {printable(why)}"
        for path, why in failures[:_SHOWN_FAILURES]
    ]
    if len(failures) > _SHOWN_FAILURES:
        lines.append(f"and on {len(failures) - _SHOWN_FAILURES:,} more; see detection.json")
    return "\n".join(lines)


def _row(name: str, scores: DetectionScores) -> list[str]:
    return [
        name,
        f"{scores.hands:,}",
        _percent(scores.recall),
        _percent(scores.precision),
        f"{scores.doubled:,}",
        f"{scores.false:,}",
        _percent(scores.side_accuracy),
        _percent(scores.pck["0.1"]),
        "" if scores.mean_error_percent is None else f"{scores.mean_error_percent:.1f} %",
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"

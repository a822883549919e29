"""``handsim ingest PATH...``: hands out of images, videos and annotations into the pool."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from tqdm import tqdm

from apps.cli.annotations import add_annotation_arguments, read_annotation_options
from apps.cli.console import find_home
from apps.cli.main import EXIT_INTERRUPTED
from handsim.detection import HandDetector, describe_detector, open_detector, require_model
from handsim.errors import NotThereError
from handsim.home import Home
from handsim.ingest import IngestOptions, IngestReport, NameRule, ingest

_PRINTED_SKIPS: Final = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="folder, image, video, or file of annotations"
    )
    parser.add_argument("--source", metavar="NAME", help="name of the collection (default: local)")
    for name, line in (
        (
            "--video-from",
            "whose recording or person a file is of (default: an image's folder, a video's name)",
        ),
        ("--label-from", "the class of a file, to evaluate with (default: none)"),
    ):
        parser.add_argument(name, type=NameRule, metavar="parent|stem|REGEX", help=line)
    parser.add_argument(
        "--fps", type=float, default=1.0, metavar="RATE", help="frames a second of video (default: 1)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="detecting processes (default: one per core)"
    )
    parser.add_argument(
        "--no-retry",
        action="store_true",
        help="look at each image once; faster where most frames show no hand",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="hand_landmarker.task (default: the cache)"
    )
    add_annotation_arguments(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    home = find_home(options)
    retry = not options.no_retry
    try:
        model = require_model(options.model)
        detector = describe_detector(model, retry=retry)
        make_detector: Callable[[], HandDetector] = partial(open_detector, model, retry=retry)
    except NotThereError as error:  # annotations can do without
        detector, make_detector = "", partial(_refuse, str(error))
    ingest_options = IngestOptions(
        source=options.source,
        video_from=options.video_from,
        label_from=options.label_from,
        samples_per_s=options.fps,
        images=options.images,
        detector=detector,
        annotations=read_annotation_options(options),
        exclude=home.path,
    )
    with tqdm(unit=" pictures", dynamic_ncols=True, disable=None) as bar:

        def update(report: IngestReport) -> None:
            bar.total = max(report.pictures - report.done_before, report.done_now)
            bar.set_postfix_str(f"{report.hands_found:,} hands", refresh=False)
            bar.update(report.done_now - bar.n)

        report = ingest(
            options.paths, home.pool, make_detector, ingest_options, workers=options.workers, progress=update
        )
    report.save(home.ingest_report)
    print(_summarize(report, home))
    return EXIT_INTERRUPTED if report.interrupted else 0


def _refuse(message: str) -> HandDetector:
    """In a worker that needs the detector after all."""
    raise NotThereError(message)


def _summarize(report: IngestReport, home: Home) -> str:
    lines = [
        f"{report.done_now:,} pictures in {report.seconds:.0f} s: {report.hands_found:,} hands, "
        f"{report.hands_new:,} of them new; the pool holds {report.hands_in_pool:,}"
    ]
    if report.done_before:
        lines.append(f"{report.done_before:,} pictures were done by an earlier run")
    skips = report.merged_skips()
    if skips:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons().items())
        lines.append(f"not used: {reasons}; each with its reason in {home.ingest_report}")
        for skip in skips[:_PRINTED_SKIPS]:
            detail = f" ({skip.detail})" if skip.detail else ""
            lines.append(f"  {skip.file}: {skip.reason}{detail}")
        if len(skips) > _PRINTED_SKIPS:
            lines.append(f"  ... and {len(skips) - _PRINTED_SKIPS:,} more")
    if report.interrupted:
        lines.append("stopped before the end; the same command goes on from here")
    elif report.hands_in_pool:
        lines.append("next: handsim index build")
    return "\n".join(lines)

"""``handsim ingest PATH...``: hands out of images, videos and annotations into the pool."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from apps.cli.annotations import add_annotation_arguments, read_annotation_options
from apps.cli.cluster import add_cluster_argument, read_cluster_options
from apps.cli.console import find_home, format_command, option_type
from apps.cli.detector import add_detector_arguments, read_detector_options
from apps.cli.ingest_report import describe_report
from apps.cli.main import EXIT_INTERRUPTED
from handsim.detection import HandDetector, describe_detector, open_detector
from handsim.english import pluralize
from handsim.errors import NotThereError
from handsim.ingest import PATIENCE_S, Glob, IngestOptions, IngestReport, NameRule, Shard, ingest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folder, image, video, tar, or file of annotations",
    )
    _add_name_arguments(parser)
    _add_choice_arguments(parser)
    parser.add_argument(
        "--fps", type=float, default=1.0, metavar="RATE", help="frames a second of video (default: 1)"
    )
    line = "leave out hands of videos that moved less, in parts of the hand's box, since the last one kept"
    parser.add_argument("--min-motion", type=float, metavar="SHARE", help=f"{line} (such as 0.05)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="detecting processes (default: one per core)"
    )
    parser.add_argument(
        "--shard",
        type=option_type(Shard.parse),
        metavar="K/N",
        help="only the K-th of N shares of the files, such as 3/16: for N machines, each with a home of its "
        "own; `handsim pool merge` brings them together",
    )
    add_cluster_argument(parser)
    add_detector_arguments(parser)
    add_annotation_arguments(parser)
    parser.set_defaults(run=_run)


def _add_name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="NAME", help="name of the collection (default: local)")
    for name, line in (
        (
            "--video-from",
            "whose recording or person a file is of (default: path, that below the folder given); "
            "renames what the pool has already",
        ),
        (
            "--label-from",
            "the class of a file, to evaluate with (default: none); relabels what the pool has already",
        ),
    ):
        parser.add_argument(name, type=option_type(NameRule), metavar="path|parent|stem|REGEX", help=line)


def _add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    for name, line in (
        ("--include", "use only files that match, such as '*.jpg' or 'take?/rgb/**'; may be repeated"),
        ("--exclude", "leave out files and folders that match, such as 'raw'; may be repeated"),
    ):
        parser.add_argument(
            name, type=option_type(Glob), action="append", default=[], metavar="GLOB", help=line
        )
    for name, line in (
        ("--retry-failed", "look again at all that gave no hand or could not be read whole"),
        ("--keep-copies", "take hands also from videos that are copies of others"),
        ("--dry-run", "say what would be done, and do nothing"),
    ):
        parser.add_argument(name, action="store_true", help=line)


def _run(options: argparse.Namespace) -> int:
    home = find_home(options)
    detector_options = read_detector_options(options)
    try:
        detector = describe_detector(detector_options)
        make_detector: Callable[[], HandDetector] = partial(open_detector, detector_options)
    except NotThereError as error:
        if options.model is not None or options.detector != "mediapipe":
            raise
        # Annotations can do without.
        detector, make_detector = "", partial(_refuse, str(error))
    ingest_options = IngestOptions(
        source=options.source,
        video_from=options.video_from,
        label_from=options.label_from,
        samples_per_s=options.fps,
        min_motion=options.min_motion,
        images=options.images,
        detector=detector,
        annotations=read_annotation_options(options),
        home=home.path,
        include=tuple(options.include),
        exclude=tuple(options.exclude),
        retry_failed=options.retry_failed,
        keep_copies=options.keep_copies,
        shard=options.shard,
    )
    with tqdm(unit=" pictures", dynamic_ncols=True, disable=True if options.dry_run else None) as bar:

        def update(report: IngestReport) -> None:
            bar.total = max(report.pictures - report.done_before, report.done_now)
            bar.set_postfix_str(pluralize(report.hands_found, "hand"), refresh=False)
            bar.update(report.done_now - bar.n)

        report = ingest(
            options.paths,
            home.pool,
            make_detector,
            ingest_options,
            workers=options.workers,
            cluster=read_cluster_options(options),
            patience_s=PATIENCE_S + detector_options.program_patience_s,
            dry_run=options.dry_run,
            progress=update,
            say=print,
        )
    if not report.dry_run:
        report.save(home.ingest_report)
    print(describe_report(report, home, format_command(options, "index build")))
    return EXIT_INTERRUPTED if report.interrupted else 0


def _refuse(message: str) -> HandDetector:
    """In a worker that needs the detector after all."""
    raise NotThereError(message)

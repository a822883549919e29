"""A job that puts the hands of photographs into the pool, as `handsim ingest` does.

python -m apps.browser.add.job --home DIR [--model FILE] [--each-alone] PATH...
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from apps.browser.jobs import JobReporter, run_job
from apps.cli.ingest_report import describe_work
from handsim.detection import DetectorOptions, describe_detector, open_detector
from handsim.home import Home
from handsim.ingest import IngestOptions, IngestReport, NameRule, ingest

JOB: Final = "ingest"
_NICENESS: Final = 5
"""Searches come first."""
_MOST_TOLD: Final = 200
"""Files that the job's record names; the report of the home names all."""


def main(words: Sequence[str]) -> int:
    """Run a job that the page started; returns the exit code."""
    parser = argparse.ArgumentParser(prog="apps.browser.add.job")
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--each-alone", action="store_true")
    options = parser.parse_args(words)
    os.nice(_NICENESS)
    home = Home(options.home)
    return run_job(home.jobs, JOB, partial(_ingest, home, options))


def _ingest(home: Home, options: argparse.Namespace, reporter: JobReporter) -> dict[str, Any]:
    detector = DetectorOptions(mediapipe_model=options.model)
    ingest_options = IngestOptions(
        video_from=NameRule("stem") if options.each_alone else None,
        detector=describe_detector(detector),
        home=home.path,
    )
    reporter.begin_phase("looking for pictures")

    def update(report: IngestReport) -> None:
        reporter.update(
            report.done_now, max(report.pictures - report.done_before, report.done_now), "looking for hands"
        )

    report = ingest(
        options.paths, home.pool, partial(open_detector, detector), ingest_options, progress=update
    )
    report.save(home.ingest_report)
    return describe_ingest(report)


def describe_ingest(report: IngestReport) -> dict[str, Any]:
    """What the page shows of a report, as values of JSON."""
    skipped = report.merged_skips()
    return {
        "lines": describe_work(report),
        "table": [asdict(row) for row in report.table()],
        "skipped": [report.explain_skip(skip) for skip in skipped[:_MOST_TOLD]],
        "skipped_more": max(0, len(skipped) - _MOST_TOLD),
        "interrupted": report.interrupted,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

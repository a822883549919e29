"""A job on an index, in a process of its own.

python -m apps.browser.index.job build|add|verify --home DIR [--index PATH|URL] [...]
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from apps.browser.jobs import JobReporter, run_job
from apps.cli.console import EncoderFolders
from apps.cli.index import (
    add_hands,
    build_version,
    describe_addition,
    describe_build,
    summarize_verification,
    verify_version,
)
from handsim.home import Home
from index import Catalog, IndexSettings, open_catalog
from index.points import Progress

_NICENESS: Final = 5
"""Searches come first."""


def main(words: Sequence[str]) -> int:
    """Run a job that `apps.browser.index.actions` started; returns the exit code."""
    parser = argparse.ArgumentParser(prog="apps.browser.index.job")
    parser.add_argument("work", choices=("build", "add", "verify"))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--index")
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--no-publish", action="store_true")
    parser.add_argument("--version")
    options = parser.parse_args(words)
    os.nice(_NICENESS)
    home = Home(options.home)
    return run_job(home.jobs, options.work, partial(_work, home, options))


def _work(home: Home, options: argparse.Namespace, reporter: JobReporter) -> dict[str, Any]:
    progress, publish = _as_phases(reporter), not options.no_publish
    notes: list[str] = []
    with open_catalog(options.index or home.index, folders=EncoderFolders(home)) as catalog:
        match options.work:
            case "build":
                settings = IndexSettings(**options.settings)
                reporter.begin_phase(
                    "reading the pool" if home.embedding.exists() else "fitting the embedding"
                )
                info = build_version(
                    home,
                    catalog,
                    settings,
                    publish=publish,
                    progress=progress,
                    print_line=notes.append,
                    announce=reporter.begin_phase,
                )
                return {"message": "; ".join([describe_build(info), *notes]), "version": info.name}
            case "add":
                reporter.begin_phase("looking for new hands")
                info, new = add_hands(
                    home,
                    catalog,
                    publish=publish,
                    progress=progress,
                    print_line=notes.append,
                    announce=reporter.begin_phase,
                )
                return {"message": "; ".join([describe_addition(info, new), *notes]), "version": info.name}
            case _:
                return _verify(home, catalog, options.version, reporter)


def _verify(home: Home, catalog: Catalog, version: str | None, reporter: JobReporter) -> dict[str, Any]:
    reporter.begin_phase("comparing with exact search, then reading every hand")
    name, verification = verify_version(home, catalog, version)
    problems = verification.problems()
    return {
        "message": f"{name} is not sound: {'; '.join(problems)}" if problems else f"{name} is sound",
        "version": name,
        "rows": summarize_verification(name, verification),
        "sound": not problems,
    }


def _as_phases(reporter: JobReporter) -> Progress:
    """Progress in two phases: hands are written, which is counted, and then linked, which is not."""

    def progress(done: int, total: int) -> None:
        reporter.update(done, total, "writing hands")
        if done >= total:
            reporter.begin_phase("linking hands into the graph, then verifying")

    return progress


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A job on an index, in its process: ``python -m apps.browser.index.job build|add|verify --home DIR``."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
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
"""Those who search come first."""


def main(words: Sequence[str]) -> int:
    """Do what `apps.browser.index.actions` asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="apps.browser.index.job")
    parser.add_argument("work", choices=list(_DO))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--index")
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--no-publish", action="store_true")
    parser.add_argument("--version")
    options = parser.parse_args(words)
    os.nice(_NICENESS)
    home = Home(options.home)
    return run_job(home.jobs, options.work, partial(_work, home, options))


def _work(home: Home, options: argparse.Namespace, say: JobReporter) -> dict[str, Any]:
    with open_catalog(options.index or home.index, folders=EncoderFolders(home)) as catalog:
        return _DO[options.work](home, catalog, options, say)


def _build(home: Home, catalog: Catalog, options: argparse.Namespace, say: JobReporter) -> dict[str, Any]:
    settings = IndexSettings(**options.settings)
    say.begin_phase("reading the pool" if home.embedding.exists() else "fitting the embedding")
    info = build_version(
        home, catalog, settings, publish=not options.no_publish, progress=_told(say), print_line=print
    )
    return {"said": describe_build(info), "version": info.name}


def _add(home: Home, catalog: Catalog, options: argparse.Namespace, say: JobReporter) -> dict[str, Any]:
    say.begin_phase("looking for new hands")
    info, new = add_hands(home, catalog, publish=not options.no_publish, progress=_told(say))
    return {"said": describe_addition(info, new), "version": info.name}


def _verify(home: Home, catalog: Catalog, options: argparse.Namespace, say: JobReporter) -> dict[str, Any]:
    say.begin_phase("comparing with exact search, then reading every hand")
    name, found = verify_version(home, catalog, options.version)
    problems = found.problems()
    said = f"{name} is not sound: {'; '.join(problems)}" if problems else f"{name} is sound"
    return {"said": said, "version": name, "rows": summarize_verification(name, found), "sound": not problems}


def _told(say: JobReporter) -> Progress:
    """Progress as phases: hands are written, counted, and then linked, which nobody counts."""

    def progress(done: int, total: int) -> None:
        say.update(done, total, "writing hands")
        if done >= total:
            say.begin_phase("linking hands into the graph, then verifying")

    return progress


_DO: Final[dict[str, Callable[[Home, Catalog, argparse.Namespace, JobReporter], dict[str, Any]]]] = {
    "build": _build,
    "add": _add,
    "verify": _verify,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

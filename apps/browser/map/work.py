"""The job that makes a map, in its process: ``python -m apps.browser.map.work VERSION --home DIR``."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from apps.browser.jobs import JobReporter, Jobs, report
from apps.browser.map.keeping import map_file, maps_folder, remove_obsolete, save_map
from apps.browser.map.making import make_map
from apps.browser.settings import BrowserSettings
from apps.places import EncoderFolders
from handsim.errors import HandsimError
from handsim.home import Home
from index import open_catalog

JOB: Final = "map"
_NICENESS: Final = 5
"""Those who look come first."""


def start_making(jobs: Jobs, settings: BrowserSettings, version: str) -> None:
    """Have a version's map made; raises HandsimError while one is made, or where nothing can be written."""
    command = [sys.executable, "-m", "apps.browser.map.work", version, "--home", str(settings.home)]
    if settings.index is not None:
        command += ["--index", settings.index]
    folder = maps_folder(Home(settings.home), settings.index)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        jobs.start(JOB, command)
    except OSError as error:
        raise HandsimError(f"a map is kept in {folder}, which cannot be written: {error.strerror}") from error


def main(words: Sequence[str]) -> int:
    """Do what `start_making` asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="apps.browser.map.work")
    parser.add_argument("version")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--index")
    options = parser.parse_args(words)
    os.nice(_NICENESS)
    home = Home(options.home)
    return report(home.jobs, JOB, partial(_work, home, options))


def _work(home: Home, options: argparse.Namespace, say: JobReporter) -> dict[str, Any]:
    folder = maps_folder(home, options.index)
    with open_catalog(options.index or home.index, folders=EncoderFolders(home)) as catalog:
        with catalog.open(options.version) as version:
            made = make_map(version, say)
            save_map(made, map_file(folder, version.info))
        remove_obsolete(folder, catalog.versions())
    return {"version": made.version, "hands": len(made)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

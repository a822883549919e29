"""What can be done to an index's versions. Each is checked here, whatever the page offered."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final, Literal

from apps.browser.library import Library
from apps.browser.versions.overview import READ_ONLY, earlier_version
from handsim.errors import HandsimError
from index import Catalog, IndexSettings

Work = Literal["build", "add", "verify"]
WORKS: Final[dict[Work, str]] = {"build": "Build", "add": "Add hands", "verify": "Verify"}
"""Jobs of an index, for people."""


def start_build(library: Library, settings: IndexSettings, *, publish: bool) -> str:
    """Have a new version of the whole pool built; raises HandsimError while another one is."""
    _check_nobody_builds(_catalog(library))
    words = ["--settings", json.dumps(asdict(settings)), *_no_publish(publish)]
    return _start(library, "build", words)


def start_add(library: Library, *, publish: bool) -> str:
    """Have the pool's new hands added in a new version; raises HandsimError while another one is built."""
    _check_nobody_builds(_catalog(library))
    return _start(library, "add", _no_publish(publish))


def start_verify(library: Library, name: str) -> str:
    """Have a version verified; raises NotThereError when there is none of that name."""
    return _start(library, "verify", ["--version", _catalog(library).info(name).name])


def stop(library: Library, work: Work) -> str:
    """End a job."""
    _check_allowed(library)
    if library.jobs.stop(work):
        return f"{WORKS[work]}: stopped."
    return f"{WORKS[work]} had come to its end already."


def publish(library: Library, name: str) -> str:
    """Make a version the current one; raises NotThereError when it was removed meanwhile."""
    _catalog(library).publish(name)
    return f"{name} is now the current version."


def roll_back(library: Library, expected: str) -> str:
    """Go back to the version published before; raises HandsimError where that is not the ``expected`` one."""
    catalog = _catalog(library)
    earlier = earlier_version(catalog, catalog.versions())
    if earlier is not None and earlier != expected:
        raise HandsimError(
            f"others published or removed versions meanwhile: rolling back now leads to {earlier}, not to "
            f"{expected}; look again"
        )
    return f"{catalog.rollback()} is now the current version again."


def remove(library: Library, name: str) -> str:
    """Remove a version for good; raises HandsimError for the current one, or one that a reader has open."""
    catalog = _catalog(library)
    _move_on(library)
    if not catalog.remove(name):
        raise HandsimError(f"a reader has {name} open; end it first, or wait")
    return f"{name} is removed."


def prune(library: Library, keep: int) -> str:
    """Keep the newest versions alone, and those that are current or in use."""
    catalog = _catalog(library)
    _move_on(library)
    removed, in_use = catalog.prune(keep)
    said = f"Removed {', '.join(removed)}." if removed else "There was nothing to remove."
    return f"{said} Left {', '.join(in_use)}: readers have them open." if in_use else said


def _catalog(library: Library) -> Catalog:
    """The catalog, for those who may change it."""
    _check_allowed(library)
    return library.catalog


def _check_allowed(library: Library) -> None:
    if not library.settings.actions:
        raise HandsimError(READ_ONLY)


def _check_nobody_builds(catalog: Catalog) -> None:
    if builder := catalog.under_way():
        raise HandsimError(f"a version is being built by {builder}; wait for it to end, or stop it")


def _no_publish(publish: bool) -> list[str]:
    return [] if publish else ["--no-publish"]


def _start(library: Library, work: Work, words: Sequence[str]) -> str:
    at = ["--home", str(library.home.path)]
    if library.settings.index is not None:
        at += ["--index", library.settings.index]
    library.jobs.start(work, [sys.executable, "-m", "apps.browser.versions.work", work, *at, *words])
    return f"{WORKS[work]}: started; it goes on when this page is closed."


def _move_on(library: Library) -> None:
    """Let the browser itself go on to the current version, so that it holds no other one open."""
    if library.catalog.current_name() is not None:
        with library.version():
            pass

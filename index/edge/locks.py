"""Who may do what in an embedded index at once.

Three locks on files, freed by the kernel when a process ends, however it ends: the builder's, held for a
whole build; the pointer's, held for the moment in which the current version changes or a version is
removed; and one for each version, shared by its readers and exclusive for its removal.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError
from handsim.files import FileLock

_BUILDER_FILE: Final = ".lock"
_POINTER_FILE: Final = ".pointer-lock"
_TIMEOUT_SECONDS: Final = 1.0
"""Longer than `active_builder` or a sweep hold the builder's lock."""


class ActiveBuilderError(HandsimError):
    """Another process writes a version."""


@contextmanager
def lock_builder(root: Path) -> Iterator[None]:
    """Be the only process that writes versions; raises ActiveBuilderError, which names the one that does."""
    with FileLock(root / _BUILDER_FILE) as lock:
        give_up_at = time.monotonic() + _TIMEOUT_SECONDS
        while not lock.acquire():
            if time.monotonic() > give_up_at:
                raise ActiveBuilderError(
                    f"{root} is being built by {lock.holder()}; wait for it to end, or stop it"
                )
            time.sleep(_TIMEOUT_SECONDS / 50)
        if not os.fstat(lock.descriptor).st_nlink:
            raise HandsimError(f"{root} was dropped just now; start again")
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError):  # on a full disk pruning must go on, even without the name of its process
            lock.write_holder(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        yield


def active_builder(root: Path) -> str | None:
    """Who writes a version now, or None."""
    try:
        lock = FileLock(root / _BUILDER_FILE, create=False)
    except FileNotFoundError:
        return None
    with lock:
        return None if lock.acquire(shared=True) else lock.holder()


@contextmanager
def lock_pointer(root: Path) -> Iterator[None]:
    """Be the only process that publishes or removes versions; both take a moment, so this waits."""
    with FileLock(root / _POINTER_FILE) as lock:
        lock.acquire(wait=True)
        yield


def lock_version(file: Path, *, exclusive: bool) -> FileLock:
    """Lock the version that a file marks: shared to read it, exclusive to remove it.

    Raises FileNotFoundError when the file is gone. An exclusive lock raises BlockingIOError while anybody
    reads. A shared one waits: an exclusive one takes a moment, and may end with the version still in its
    place.
    """
    lock = FileLock(file, create=False)
    try:
        if not lock.acquire(shared=not exclusive, wait=not exclusive):
            raise BlockingIOError(f"{file} is being read")
        # Before it was locked, the file may have been removed and another one put in its place.
        if not os.path.samestat(os.fstat(lock.descriptor), os.stat(file)):
            raise FileNotFoundError(file)
    except BaseException:
        lock.release()
        raise
    return lock

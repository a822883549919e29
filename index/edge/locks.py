"""Who may do what in an embedded index at once.

The kernel holds the locks and frees them when a process ends, however it ends.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final

from handsim.errors import HandsimError

_BUILDER_FILE: Final = ".lock"
_POINTER_FILE: Final = ".pointer-lock"
_PATIENCE_SECONDS: Final = 1.0


class BuilderAtWorkError(HandsimError):
    """Another process writes a version."""


@contextmanager
def sole_builder(root: Path) -> Iterator[None]:
    """Be the one process that writes versions; raises BuilderAtWorkError that says who it is already."""
    lock = os.open(root / _BUILDER_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock_alone(lock, root)
        if not os.fstat(lock).st_nlink:
            raise HandsimError(f"{root} was dropped just now; start again")
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {since}".encode()
        with suppress(OSError):  # a courtesy, without which pruning a full disk goes on
            os.pwrite(lock, holder, 0)
            os.ftruncate(lock, len(holder))
        yield
    finally:
        # Unlocked by word, not only by closing: a forked worker may hold a copy of the descriptor.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _lock_alone(lock: int, root: Path) -> None:
    """Lock the builder's file, waiting as long as `builder_at_work` or a sweep may hold it."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > give_up_at:
                raise BuilderAtWorkError(
                    f"{root} is being built by {_holder(lock)}; wait for it to end, or stop it"
                ) from error
        time.sleep(_PATIENCE_SECONDS / 50)


def builder_at_work(root: Path) -> str | None:
    """Who writes a version just now, or None."""
    try:
        lock = os.open(root / _BUILDER_FILE, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(lock)
    finally:
        os.close(lock)
    return None


def _holder(lock: int) -> str:
    return os.pread(lock, 200, 0).decode(errors="replace") or "another process"


@contextmanager
def pointer_held(root: Path) -> Iterator[None]:
    """Nobody else publishes or removes versions meanwhile; both take a moment, so this waits."""
    lock = os.open(root / _POINTER_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


class VersionLock:
    """A claim on one version: shared by those who read it, or alone to remove it."""

    def __init__(self, file: Path, *, alone: bool) -> None:
        """Claim the version that a file marks; raises FileNotFoundError when the file is gone.

        A claim to be alone raises BlockingIOError while anybody reads. A reader waits instead: who is alone
        takes a moment, and may find reason to leave the version where it is.
        """
        descriptor = os.open(file, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
            # Between opening and locking it may have been removed, and another put in its place.
            if not os.path.samestat(os.fstat(descriptor), os.stat(file)):
                raise FileNotFoundError(file)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def __enter__(self) -> "VersionLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the claim up; a second time changes nothing."""
        if self._descriptor >= 0:
            # Unlocked by word, not only by closing: a forked worker may hold a copy of the descriptor.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

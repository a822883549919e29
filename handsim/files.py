"""Files that appear whole or not at all, and locks that end with the process that holds them."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, TextIO

from handsim.errors import HandsimError, NotThereError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; when the block ends, that file takes the place of ``path``.

    Readers see the old file or the whole new one, also after a power cut: the new one is synced before it is
    renamed. When the block raises, ``path`` stays as it was and the new file is removed.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Raise HandsimError if something is at ``path``, NotThereError if its folder is not there."""
    if path.exists() or path.is_symlink():
        raise HandsimError(f"{path} is there already; give another place, or remove it")
    if not path.parent.is_dir():
        raise NotThereError(f"{path.parent} is not a directory; make it, or give another place")


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Yield a place beside ``path`` for a new file or folder; when the block ends, it gets the name ``path``.

    When the block raises, it is removed; what a killed process left is removed by the next try. Raises
    HandsimError if something is at ``path``.
    """
    refuse_existing(path)
    temporary = path.with_name(f".{path.name}.writing")
    _remove(temporary)
    try:
        yield temporary
        os.sync()  # one call for all: syncing thousands of pictures one by one takes longer than writing them
        temporary.rename(path)
    except BaseException:
        _remove(temporary)
        raise
    sync(path.parent)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json_list(file: TextIO, entries: Iterable[dict[str, Any]]) -> int:
    """Write a JSON array as its entries come, one a line; returns how many."""
    count = 0
    for entry in entries:
        file.write("[\n" if count == 0 else ",\n")
        file.write(json.dumps(entry, separators=(",", ":")))
        count += 1
    file.write("\n]" if count else "[]")
    return count


def write_text_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by UTF-8 text."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileLock:
    """A lock (flock) on a file, shared or exclusive; a context manager that releases it.

    The kernel frees it when the last process that has its descriptor ends, however that ends. The file may
    say who holds the lock; it is never removed, because a lock on a removed file excludes nobody.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file, without the lock; FileNotFoundError if it is absent and ``create`` is false."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
        self.descriptor = os.open(path, flags, 0o644)
        """What a child process must inherit to hold the lock too; -1 once it is released."""

    def acquire(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Take the lock; False where another process has it and ``wait`` is not asked for."""
        try:
            fcntl.flock(
                self.descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
            )
        except BlockingIOError:
            return False
        return True

    def holder(self) -> str:
        """Who wrote into the file with `write_holder`, or "another process"."""
        return os.pread(self.descriptor, 200, 0).decode(errors="replace").strip() or "another process"

    def write_holder(self, holder: str) -> None:
        """Say in the file who holds the lock."""
        text = holder.encode()
        os.pwrite(self.descriptor, text, 0)
        os.ftruncate(self.descriptor, len(text))

    def release(self) -> None:
        """Unlock and close the file; a second time changes nothing."""
        if self.descriptor >= 0:
            # Unlocked explicitly, not only by closing: a forked worker may have a copy of the descriptor.
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
            self.descriptor = -1

    def leave_to_child(self) -> None:
        """Close the file without unlocking it: a child process that inherited the descriptor has the lock."""
        os.close(self.descriptor)
        self.descriptor = -1

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

"""How parts appear and are rewritten: who may write, and what becomes of earlier generations.

A part is never changed. Who renames its hands, or gives the space of removed ones back, writes its next
generation beside it (``000003.1`` after ``000003``), and one rename lets that take its place. A change of
many parts is made part by part: killed between two, it has changed some, and made again it changes the rest.

Readers open files when they need them, and hold a shared lock as long. Earlier generations are deleted by the
next writer that finds nobody reading.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handsim.errors import HandsimError
from handsim.files import FileLock, sync
from handsim.pool import layout
from handsim.pool.crops import missing_crops


def lock_pool(pool: Path) -> FileLock:
    """Become the one process that writes to a pool; raises HandsimError that names the one that does."""
    lock = FileLock(pool / layout.LOCK_FILE)
    if not lock.acquire():
        holder = lock.holder()
        lock.release()
        raise HandsimError(f"{pool} is being written by {holder}; wait for it to end, or stop it")
    lock.write_holder(f"process {os.getpid()}")
    return lock


@contextmanager
def changing(pool: Path) -> Iterator[None]:
    """Hold the lock of an existing pool, and clear away what is not needed before and after.

    Raises NotThereError where there is no pool, HandsimError while another process writes to it.
    """
    layout.read_pool_json(pool)
    with lock_pool(pool):
        clear_remains(pool)
        yield
        clear_remains(pool)


def clear_remains(pool: Path) -> None:
    """Delete what a killed writer left and, unless somebody reads, earlier generations."""
    for remains in layout.parts_directory(pool).glob(".*.writing"):
        shutil.rmtree(remains)
    for name in (layout.POOL_FILE, layout.REMOVED_FILE):
        for file in pool.glob(f".{name}.*"):  # see `handsim.files.replacing`
            file.unlink()
    if earlier := earlier_generations(pool):
        with FileLock(pool / layout.READERS_FILE) as lock:
            if lock.acquire():
                for part in earlier:
                    shutil.rmtree(part)


def earlier_generations(pool: Path) -> list[Path]:
    """Parts that were rewritten and not deleted yet."""
    published = set(layout.published_parts(pool))
    return [part for part in layout.all_generations(pool) if part not in published]


@contextmanager
def next_generation(part: Path) -> Iterator[Path]:
    """Yield a directory; what the block writes there takes the place of ``part`` when it ends."""
    layout.raise_version(part.parent.parent, 2)
    name = f"{layout.part_number(part):06d}.{layout.part_generation(part) + 1}"
    with new_part(part.with_name(name)) as writing:
        yield writing


@contextmanager
def new_part(part: Path) -> Iterator[Path]:
    """Yield a directory; what the block writes there appears at ``part`` when it ends, or not at all."""
    writing = part.with_name(f".{part.name}.writing")
    writing.mkdir()
    try:
        yield writing
        publish(writing, part)
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise


def publish(writing: Path, part: Path) -> None:
    """Let a directory that was written appear as a part, safe from a power cut."""
    layout.sync_directory(writing)
    os.rename(writing, part)
    sync(part.parent)


def link_or_copy(part: Path, file: str, out: Path) -> None:
    """Have a file of a part, if it has that, in ``out`` too; a hard link where the disk has such."""
    source = part / file
    if not source.exists() and not source.is_symlink():
        return
    try:
        os.link(source.resolve(), out / file)
    except OSError:
        try:
            shutil.copyfile(source, out / file)
        except FileNotFoundError as error:
            raise missing_crops(part) from error

"""What `index.doctor` asks of an embedded index: its disk, its files."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError
from index.doctor import Finding, find_missing_weights
from index.edge.version import map_columns, read_checked

_TRIAL_BYTES: Final = 2**16


def examine_disk(root: Path, bytes_needed: int | None) -> Iterator[Finding]:
    """Whether a version can be written; ``bytes_needed`` is the size of one, None: not known.

    A file without a name is written, which the system removes itself, however this process ends.
    """
    readers_go_on = "readers go on, but nothing can be built or published"
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding(
            "wrong",
            f"nothing can be written into {root} ({error.strerror}): {readers_go_on}",
            "free space on its disk, or see that it is mounted and owned so that you may write",
        )
        return
    free = shutil.disk_usage(root).free
    if bytes_needed is not None and free < bytes_needed:
        yield Finding(
            "wrong",
            f"{free / 1e6:,.1f} MB are free on the disk of {root}, and a version like the newest takes "
            f"{bytes_needed / 1e6:,.1f} MB",
            "`handsim index prune --keep 1` removes old versions; or free space",
        )


def examine_version(directory: Path) -> Iterator[Finding]:
    """Whether all its files are as they were written, and of today.

    The engine does not open it: on a full disk that may end the process.
    """
    try:
        _, embedding = read_checked(directory)
        columns = map_columns(directory)
    except HandsimError as error:
        if directory.exists():  # else it was removed since it was listed
            yield Finding("wrong", str(error))
        return
    yield from find_missing_weights(embedding, directory.name)
    if columns is None:
        yield Finding(
            "hint",
            f"{directory.name} was built by an older handsim: mining looks its hands up one by one",
            "`handsim index build` makes one that is faster there",
        )

"""Files that appear whole or not at all, and stay through a power cut."""

import os
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text beside ``path``, then put it in its place: readers see the old file or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, "utf-8")
    sync(temporary)
    os.replace(temporary, path)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Members of tar files, found by their headers and read by their offsets: nothing is unpacked.

So a name may be absolute, lead upwards or stand there twice, and nothing happens: it is a name. Tars of all
kinds are read that Python's tarfile reads (POSIX, GNU, v7), but none that is compressed: a compressed one has
to be read from its beginning for each member.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from handsim.errors import UnusableError

_BLOCK: Final = tarfile.BLOCKSIZE
_MAX_HEADER_BYTES: Final = 1 << 20
"""tarfile reads a long name at once, however long its header says that it is."""
_MAX_BROKEN: Final = 1000
"""Headers that cannot be read, after which the rest of a tar is given up."""
_ODD_HEADERS: Final = (tarfile.TarError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""What tarfile raises for headers that contradict themselves; the last is its recursion."""


class TarMember(NamedTuple):
    """A file in a tar."""

    tar: Path
    name: str
    """Its path in the tar, without a slash at the beginning and without ``.`` and ``..``."""
    offset: int
    """The first byte of its content."""
    size: int
    """Bytes of its content."""

    @property
    def path(self) -> Path:
        """Its place, as if the tar were a folder."""
        return self.tar / self.name


class BadMember(NamedTuple):
    """What cannot be used of a tar."""

    name: str
    """As `TarMember.name`; empty: it is about the tar itself."""
    error: UnusableError


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar: the first header has its checksum."""
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def is_tar_file(path: str) -> bool:
    """Whether a file is a tar; False for what cannot be read."""
    try:
        with open(path, "rb") as file:
            return is_tar(file.read(_BLOCK))
    except OSError:
        return False


def read_members(path: Path) -> Iterator[TarMember | BadMember]:
    """The files of a tar in its order, one header in memory at a time.

    Behind a damaged header the next whole one is looked for. What is damaged, cut off, or no file comes as a
    `BadMember`; raises OSError for a tar that cannot be read.
    """
    with path.open("rb") as file:
        size, end, broken = os.fstat(file.fileno()).st_size, 0, 0
        tar = None
        while end < size and broken < _MAX_BROKEN:
            try:
                tar = tar or _open(file)
                info = tar.next()
                vars(tar)["members"] = []  # else it remembers all of them
                if info is None:
                    break
                if tar.offset <= info.offset:
                    raise ValueError("its size is negative")
            except _ODD_HEADERS:
                broken, tar = broken + 1, None
                file.seek(file.tell() // _BLOCK * _BLOCK)  # behind it
                continue
            if info.offset > end:
                yield from _passed_over(file, end, info.offset)
            end = tar.offset
            yield from _member(path, info, size)
        if end < size:
            yield from _passed_over(file, end, size)
        if end == size:
            yield BadMember("", UnusableError("truncated tar", "it has no end mark: members may be missing"))


def _open(file: BinaryIO) -> tarfile.TarFile:
    """A tar that begins where the file stands."""
    headers: Any = _Headers(file)
    return tarfile.TarFile(fileobj=headers, ignore_zeros=True, encoding="utf-8", errors="surrogateescape")


class _Headers:
    """A file of which only headers are read; a header that asks for more is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _passed_over(file: BinaryIO, start: int, stop: int) -> Iterator[BadMember]:
    """What to say of bytes that belong to no member; zeros end a tar, and another may follow."""
    if any(os.pread(file.fileno(), _BLOCK, start)):
        detail = f"no whole header is at byte {start:,}: {stop - start:,} bytes are passed over"
        yield BadMember("", UnusableError("damaged tar", detail))


def _member(path: Path, info: tarfile.TarInfo, tar_size: int) -> Iterator[TarMember | BadMember]:
    parts = [part for part in info.name.replace("\0", "").split("/") if part not in ("", ".", "..")]
    name = "/".join(parts) or "unnamed"
    if info.issym() or info.islnk():
        yield BadMember(name, UnusableError("link in a tar", f"it leads to {info.linkname}"))
    elif info.issparse():
        yield BadMember(name, UnusableError("sparse file in a tar", "its content is not in one piece"))
    elif info.isreg() and info.offset_data + info.size > tar_size:
        missing = info.offset_data + info.size - tar_size
        yield BadMember(name, UnusableError("truncated tar", f"{missing:,} bytes of it are missing"))
    elif info.isreg():
        yield TarMember(path, name, info.offset_data, info.size)
    elif not info.isdir():
        yield BadMember(name, UnusableError("unreadable", "it is no file"))


def open_member(member: TarMember) -> io.BufferedReader:
    """A member as a file of its own; raises OSError."""
    return io.BufferedReader(_Window(member))


class _Window(io.RawIOBase):
    """The bytes of a member."""

    def __init__(self, member: TarMember) -> None:
        self._file = member.tar.open("rb", buffering=0)
        self._start, self._size, self._at = member.offset, member.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Of the tar."""
        return self._file.fileno()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        data = os.pread(self.fileno(), count, self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def close(self) -> None:
        self._file.close()
        super().close()

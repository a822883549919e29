"""Members of tars, by their offsets."""

import io
import random
import tarfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from handsim.images import read_file
from handsim.tars import BadMember, TarMember, read_members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
BLOCK = tarfile.BLOCKSIZE


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], format: str = "ustar") -> Path:
    with tarfile.open(path, "w", format=FORMATS[format]) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def contents(path: Path) -> dict[str, bytes]:
    """By name, of what can be read."""
    return {member.name: read_file(member) for member in read_members(path) if isinstance(member, TarMember)}


def reasons(path: Path) -> list[tuple[str, str]]:
    return [
        (member.name, member.error.reason) for member in read_members(path) if isinstance(member, BadMember)
    ]


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_members_of_any_name_are_read_by_offset_and_names_lead_nowhere(tmp_path: Path, format: str) -> None:
    long = "x" * 150 + "/" + "y" * 150 + ".jpg"
    named = {long: long, "../../etc/a.jpg": "etc/a.jpg", "/abs/é.jpg": "abs/é.jpg", "./b.jpg": "b.jpg"}
    path = write_tar(tmp_path / "a.tar", ((name, name.encode()) for name in [*named, "..", "."]), format)
    expected = {clean: name.encode() for name, clean in named.items()}
    assert contents(path) == expected | {"unnamed": b"."}
    assert reasons(path) == []


def test_links_and_sparse_files_are_told_and_equal_names_are_two_members(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind in (
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("folder", tarfile.DIRTYPE),
            ("sparse", tarfile.GNUTYPE_SPARSE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        for content in (b"old", b"new", b""):
            member = tarfile.TarInfo("twice")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    sizes = [member.size for member in read_members(path) if isinstance(member, TarMember)]
    assert sizes == [3, 3, 0]
    assert reasons(path) == [
        ("link", "link in a tar"),
        ("hard", "link in a tar"),
        ("pipe", "unreadable"),
        ("sparse", "sparse file in a tar"),
    ]


def test_what_is_whole_of_a_damaged_tar_is_read_and_the_rest_is_told(tmp_path: Path) -> None:
    members = [(f"{number}.jpg", bytes([number]) * 700) for number in range(1, 5)]
    whole = write_tar(tmp_path / "a.tar", members).read_bytes()
    path = tmp_path / "b.tar"
    for cut, left, told in (
        (3 * BLOCK + BLOCK + 90, 1, [("2.jpg", "truncated tar")]),
        (3 * BLOCK, 1, [("", "truncated tar")]),
        (3 * BLOCK + 100, 1, [("", "damaged tar")]),
    ):
        path.write_bytes(whole[:cut])
        assert (contents(path), reasons(path)) == (dict(members[:left]), told)
    damaged = bytearray(whole)
    damaged[3 * BLOCK + 3] ^= 1  # the name in the second header
    path.write_bytes(damaged)
    assert contents(path) == dict([members[0], *members[2:]])
    assert reasons(path) == [("", "damaged tar")]
    path.write_bytes(whole + whole)  # `cat`
    assert len(list(read_members(path))) == 8


def test_no_damage_raises_or_goes_on_for_ever(tmp_path: Path) -> None:
    draw = random.Random(0)
    path = tmp_path / "a.tar"
    names = [("z" * 200 + ".jpg", b"abc"), ("é.jpg", b"1"), ("b.jpg", bytes(900))]
    whole = [write_tar(path, names, format).read_bytes() for format in ("gnu", "pax")]
    for _ in range(400):
        damaged = bytearray(draw.choice(whole))
        del damaged[draw.randrange(len(damaged)) :]
        for _ in range(min(5, len(damaged))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        for start in range(0, len(damaged) - BLOCK + 1, BLOCK):  # so that nonsense has right checksums
            header = damaged[start : start + BLOCK]
            if header[257:262] == b"ustar" and draw.random() < 0.8:
                total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
                damaged[start + 148 : start + 156] = b"%06o\0 " % (total % 8**6)
        path.write_bytes(damaged)
        assert len(list(read_members(path))) < 20


def test_memory_does_not_grow_with_the_members(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = write_tar(tmp_path / "a.tar", ((f"{number}.jpg", b"") for number in range(count)))
        tracemalloc.start()
        assert sum(1 for _ in read_members(path)) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(3000) < 2 * peak(30)

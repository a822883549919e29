"""Disks without room for another version."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handsim import HandsimError, Pool
from index import Catalog, open_catalog
from index.backup import restore_backup, write_backup
from tests.index.builders import SMALL_GRAPH, ChildProcess, SmallData

# The engine's files have holes, and in memory a hole that is read is filled: a version takes 70 MB there.
TWO_VERSIONS_MB = 180


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with room for two versions."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TWO_VERSIONS_MB}m", "tmpfs", str(mount_point)]
    result = subprocess.run(mount, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"mounting a small file system is not permitted here: {result.stderr.strip()}")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


@pytest.fixture
def catalog(disk: Path, small: SmallData) -> Catalog:
    """An index with one version on that disk."""
    catalog = open_catalog(disk / "index")
    catalog.build(small.pool, small.embedding, SMALL_GRAPH)
    return catalog


def fill(disk: Path, *, leave: int) -> Path:
    """Take all but ``leave`` bytes of the free space at once; returns the file to remove."""
    file = disk / "filler"
    free = shutil.disk_usage(disk).free
    subprocess.run(["fallocate", "--length", str(free - leave), str(file)], check=True)
    return file


def assert_versions(disk: Path, *versions: str) -> None:
    names = {path.name for path in (disk / "index").iterdir()}
    assert names == {"catalog.json", "current", ".lock", ".pointer-lock", *versions}


def assert_answers(catalog: Catalog, name: str, pool: Pool) -> None:
    with catalog.current() as version:
        assert version.info.name == name
        assert version.search_keypoints(pool.keypoints[:1], 1).hand_ids[0, 0] == pool.hand_ids[0]


def test_a_disk_with_too_little_room_is_refused_before_the_build(
    catalog: Catalog, disk: Path, small: SmallData
) -> None:
    fill(disk, leave=40_000_000)
    message = rf"the disk of {disk / 'index'} has 40 MB free; an index of 60 hands needs some 80 MB "
    with pytest.raises(HandsimError, match=rf"^{message}.*`handsim index prune`.*$"):
        catalog.build(small.pool, small.embedding)
    assert_versions(disk, "v0001")
    assert_answers(catalog, "v0001", small.pool)


BUILDER = """
import sys
from handsim import HandsimError, Pool, PoseEmbedding
from index import open_catalog

def wait(done, total):
    print("writing", flush=True)
    sys.stdin.readline()

pool = Pool.open(sys.argv[1])
try:
    open_catalog(sys.argv[2]).build(pool, PoseEmbedding.fit(pool, components=6), progress=wait)
except HandsimError as error:
    print(error, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("leave", [0, 10_000_000])
def test_a_disk_that_fills_up_during_a_build_harms_no_version(
    catalog: Catalog, disk: Path, small: SmallData, start: Callable[..., ChildProcess], leave: int
) -> None:
    with catalog.current() as reader:
        builder = start(BUILDER, small.pool.path, disk / "index")
        assert builder.read_line() == "writing"
        filler = fill(disk, leave=leave)
        builder.proceed()
        message = builder.read_line()
        # A write into a mapped file kills the process; every other error ends as one line.
        assert message.startswith("the disk of ") or builder.wait() < 0
        assert reader.search_keypoints(small.pool.keypoints[:1], 1).hand_ids[0, 0] == small.pool.hand_ids[0]
    builder.kill()
    filler.unlink()
    assert_answers(catalog, "v0001", small.pool)
    assert catalog.prune(keep=1) == ([], [])
    assert_versions(disk, "v0001")
    assert catalog.build(small.pool, small.embedding).name == "v0002"


def test_on_a_full_disk_reading_and_pruning_work(catalog: Catalog, disk: Path, small: SmallData) -> None:
    catalog.build(small.pool, small.embedding)
    with catalog.current() as reader:
        fill(disk, leave=0)
        assert reader.search_hands(small.pool.hand_ids[:1], 1).is_found.all()
        # The engine cannot even open an index then, which must not be reported as damage.
        for write in (catalog.current, lambda: catalog.publish("v0001")):
            with pytest.raises(HandsimError, match=r"the disk of .* is full; `handsim index prune`, or make"):
                write()
    assert catalog.prune(keep=1) == (["v0001"], [])
    assert_answers(catalog, "v0002", small.pool)
    assert_versions(disk, "v0002")


def test_a_backup_and_a_restore_without_room_are_refused_and_go_on_when_there_is_some(
    disk: Path, small: SmallData, tmp_path: Path
) -> None:
    source, folder = open_catalog(tmp_path / "index"), disk / "backup"
    source.build(small.pool, small.embedding)
    message = r"^the disk of .* has 40 MB free; a copy of v0001 needs some 80 MB; make room on it, or name an"
    filler = fill(disk, leave=40_000_000)
    with pytest.raises(HandsimError, match=message):
        write_backup(source, folder)
    filler.unlink()
    manifest, _ = write_backup(source, folder)
    filler = fill(disk, leave=40_000_000)
    restored = open_catalog(disk / "index")
    with pytest.raises(HandsimError, match=message):
        restore_backup(folder, restored)
    assert restored.versions() == []
    filler.unlink()
    assert restore_backup(folder, restored) == manifest
    assert_answers(restored, "v0001", small.pool)

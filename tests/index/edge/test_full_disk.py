"""Disks without room for another version: a small file system in memory, mounted for each test."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from index import Catalog, open_catalog
from tests.index.builders import SMALL_GRAPH

# The engine's files have holes, and in memory a hole that is read is filled: a version takes 70 MB there.
TWO_VERSIONS_MB = 180


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two versions' size."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TWO_VERSIONS_MB}m", "tmpfs", str(place)]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounting a small file system is not permitted here: {tried.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def catalog(disk: Path, small_pool: Pool, small_embedding: PoseEmbedding) -> Catalog:
    """An index with one version on that disk."""
    catalog = open_catalog(disk / "index")
    catalog.build(small_pool, small_embedding, SMALL_GRAPH)
    return catalog


def fill(disk: Path, *, left: int) -> Path:
    """Take all but some bytes of what is free, at once; returns the file to remove."""
    hog = disk / "hog"
    free = shutil.disk_usage(disk).free
    subprocess.run(["fallocate", "--length", str(free - left), str(hog)], check=True)
    return hog


def check_nothing_left_over(disk: Path, *versions: str) -> None:
    names = {path.name for path in (disk / "index").iterdir()}
    assert names == {"catalog.json", "current", ".lock", ".pointer-lock", *versions}


def check_current_answers(catalog: Catalog, pool: Pool) -> None:
    with catalog.current() as version:
        assert version.info.name == "v0001"
        assert version.search_keypoints(pool.keypoints[:1], 1).hand_ids[0, 0] == pool.hand_ids[0]


def test_too_little_room_is_foreseen(
    catalog: Catalog, disk: Path, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    fill(disk, left=40_000_000)
    with pytest.raises(HandsimError) as caught:
        catalog.build(small_pool, small_embedding)
    message = str(caught.value)
    assert f"the disk of {disk / 'index'} has 40 MB free; an index of 60 hands needs some 80 MB" in message
    assert "`handsim index prune`" in message
    assert "\n" not in message
    check_nothing_left_over(disk, "v0001")
    check_current_answers(catalog, small_pool)


BUILDER = """
import sys
from handsim import HandsimError, Pool, PoseEmbedding
from index import IndexSettings, open_catalog

def wait(done, total):
    print("writing", flush=True)
    sys.stdin.readline()

pool = Pool.open(sys.argv[1])
try:
    open_catalog(sys.argv[2]).build(pool, PoseEmbedding.fit(pool, components=6), progress=wait)
except HandsimError as error:
    sys.exit(f"told: {error}")
"""


@pytest.mark.parametrize("left", [0, 2_000_000, 10_000_000])
def test_a_disk_that_fills_up_during_a_build(
    catalog: Catalog, disk: Path, small_pool: Pool, small_embedding: PoseEmbedding, left: int
) -> None:
    reader = catalog.current()
    command = [sys.executable, "-c", BUILDER, str(small_pool.path), str(disk / "index")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "writing\n"
        hog = fill(disk, left=left)
        _, complaint = builder.communicate("go on\n")
    # The engine may be killed where it writes into files that it has mapped; else it is told in one line.
    killed = builder.returncode < 0
    assert killed or (complaint.startswith("told: the disk of ") and complaint.count("\n") == 1)
    assert reader.search_keypoints(small_pool.keypoints[:1], 1).hand_ids[0, 0] == small_pool.hand_ids[0]
    reader.close()
    hog.unlink()
    check_current_answers(catalog, small_pool)
    assert catalog.prune(keep=1) == ([], [])
    check_nothing_left_over(disk, "v0001")
    assert catalog.build(small_pool, small_embedding).name == "v0002"


def test_without_a_byte_left_readers_go_on_and_pruning_helps(
    catalog: Catalog, disk: Path, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog.build(small_pool, small_embedding)
    with catalog.current() as reader:
        fill(disk, left=0)
        assert reader.search_hands(small_pool.hand_ids[:1], 1).is_found.all()
        # The engine cannot even open an index then; it must not pass for a damaged one.
        with pytest.raises(
            HandsimError, match=r"the disk of .* is full; `handsim index prune`, or make room"
        ):
            catalog.current()
        with pytest.raises(HandsimError, match=r"is full; `handsim index prune`"):
            catalog.publish("v0001")
    assert catalog.prune(keep=1) == (["v0001"], [])
    with catalog.current() as version:
        assert version.info.name == "v0002"
    check_nothing_left_over(disk, "v0002")

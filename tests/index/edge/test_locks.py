"""Several people at one embedded index: nobody reads half-done work, and nobody is refused without reason."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handsim import Pool
from handsim.files import FileLock
from index import open_catalog, verify
from index.edge.layout import VERSION_FILE
from index.edge.locks import active_builder, lock_builder, lock_version
from tests.index.builders import copy_index

PERSON = """
import sys
import numpy as np
from handsim import HandsimError, Pool, PoseEmbedding
from index import IndexSettings, open_catalog, verify

# The only messages for somebody who comes second.
EXPECTED = ("is being built by", "left to go back to", "has no version", "is the current version")
catalog, pool, grown = open_catalog(sys.argv[1]), Pool.open(sys.argv[2]), Pool.open(sys.argv[3])
embeddings = [PoseEmbedding.fit(pool, components=components) for components in (5, 14)]
random = np.random.default_rng(int(sys.argv[4]))

def check():
    with catalog.current() as version:
        catalog.record_verification(version.info.name, verify(version, sample=20))

commands = [
    lambda: catalog.build(pool, embeddings[random.integers(2)], IndexSettings(threads=1)),
    lambda: catalog.add(grown),
    lambda: catalog.publish(catalog.versions()[0].name),
    catalog.rollback,
    lambda: catalog.prune(1),
    lambda: catalog.prune(2),
    catalog.active_builder,
    check,
]
for _ in range(15):
    try:
        commands[random.integers(len(commands))]()
    except HandsimError as error:
        if not any(text in str(error) for text in EXPECTED):
            raise
"""


@pytest.mark.slow
def test_three_people_at_once_leave_a_sound_index(
    three_versions: Path, small_pool: Pool, grown_pool: Pool, tmp_path: Path
) -> None:
    root = copy_index(three_versions, tmp_path / "index")
    command = [sys.executable, "-c", PERSON, str(root), str(small_pool.path), str(grown_pool.path)]
    people = [
        subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True, cwd=Path.cwd())
        for seed in range(3)
    ]
    assert [person.communicate()[1] for person in people] == ["", "", ""]
    catalog = open_catalog(root)
    catalog.prune(keep=2)
    names = {info.name for info in catalog.versions()}
    entries = {path.name for path in root.iterdir()}
    assert entries == {"catalog.json", "current", ".lock", ".pointer-lock", *names}
    for name in names:
        with catalog.open(name) as version:
            assert verify(version, sample=20, read_all=True).problems() == []


def test_reading_who_builds_keeps_nobody_from_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.edge.locks._TIMEOUT_SECONDS", 60.0)

    def build() -> str | None:
        with lock_builder(tmp_path):
            return active_builder(tmp_path)

    assert str(os.getpid()) in str(build())
    with ThreadPoolExecutor(1) as threads, FileLock(tmp_path / ".lock") as lock:
        assert lock.acquire(shared=True)  # as `active_builder` does for a moment
        building = threads.submit(build)
        with pytest.raises(TimeoutError):
            building.result(0.1)
        lock.release()
        assert str(os.getpid()) in str(building.result(60))


def test_a_reader_waits_for_a_removal_that_may_not_happen(three_versions: Path, tmp_path: Path) -> None:
    root = copy_index(three_versions, tmp_path / "index")

    def read() -> str:
        with open_catalog(root).current() as version:
            return version.info.name

    with ThreadPoolExecutor(1) as threads:
        with lock_version(root / "v0003" / VERSION_FILE, exclusive=True):
            reading = threads.submit(read)
            with pytest.raises(TimeoutError):
                reading.result(0.1)
        assert reading.result(60) == "v0003"


@pytest.mark.parametrize("is_read", [False, True])
def test_what_a_killed_reader_left_is_neither_copied_nor_left(
    three_versions: Path, grown_pool: Pool, tmp_path: Path, is_read: bool
) -> None:
    root = copy_index(three_versions, tmp_path / "index")
    files = [
        root / "v0003" / "shard" / ".atomicwriteAbCdEf" / "tmpfile.tmp",
        root / "v0003" / ".verification.json.9",
    ]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("{")
    catalog = open_catalog(root)
    lock = lock_version(root / "v0003" / VERSION_FILE, exclusive=False) if is_read else None
    assert catalog.add(grown_pool).name == "v0004"
    assert not list((root / "v0004").rglob(".atomicwrite*"))
    catalog.sweep()
    # While somebody reads the version, such a file may belong to that reader.
    assert [file.exists() for file in files] == [is_read, False]
    if lock is not None:
        lock.release()
        catalog.sweep()
        assert not files[0].parent.exists()

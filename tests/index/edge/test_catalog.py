"""The embedded catalog between processes: many readers, killed builders, files of other programs, damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import SearchOptions, open_catalog, verify
from tests.index.builders import ChildProcess, copy_index


@pytest.fixture
def root(three_versions: Path, tmp_path: Path) -> Path:
    """A copy of ``three_versions``."""
    return copy_index(three_versions, tmp_path / "index")


def entries(root: Path) -> set[str]:
    return {name for name in os.listdir(root) if "lock" not in name}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


READERS = """
import sys
import numpy as np
from index import SearchOptions, open_catalog
hands = np.array(sys.argv[2:], dtype=np.uint64)
for _ in range(5):
    with open_catalog(sys.argv[1]).current() as version:
        for _ in range(20):
            neighbors = version.search_hands(hands, 3, other_video=True)
assert "torch" not in sys.modules
print(*neighbors.hand_ids.ravel().tolist())
"""


@pytest.mark.slow
def test_many_processes_read_one_version(built: Path, pool: Pool) -> None:
    hands = pool.hand_ids[::100]
    command = [sys.executable, "-c", READERS, str(built), *map(str, hands.tolist())]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [reader.communicate()[0] for reader in readers]
    with open_catalog(built).current() as version:
        own = version.search_hands(hands, 3, other_video=True).hand_ids.ravel().tolist()
    assert answers == [" ".join(map(str, own)) + "\n"] * 4
    assert all(reader.returncode == 0 for reader in readers)


def test_reading_changes_no_file(built: Path, pool: Pool) -> None:
    before = contents(built / "v0001")
    with open_catalog(built).current() as version:
        neighbors = version.search_hands(pool.hand_ids[:50], 5, options=SearchOptions(one_per_video=True))
    assert np.isfinite(neighbors.distances).all()
    assert contents(built / "v0001") == before


READER = """
import sys
from index import open_catalog
with open_catalog(sys.argv[1]).open(sys.argv[2]) as version:
    print("open", flush=True)
    sys.stdin.readline()
    hand = next(version.scroll(batch=1)).hand_ids
    print(version.search_hands(hand, 2).is_found.sum(), flush=True)
"""


def test_a_version_that_another_process_reads_is_not_removed(
    root: Path, start: Callable[..., ChildProcess]
) -> None:
    catalog = open_catalog(root)
    reader, killed = (start(READER, root, "v0001") for _ in range(2))
    assert (reader.read_line(), killed.read_line()) == ("open", "open")
    killed.kill()
    assert catalog.prune(1) == (["v0002"], ["v0001"])
    with pytest.raises(HandsimError, match=f"a reader has v0001 of {root} open; end it first"):
        catalog.drop()
    reader.proceed()
    assert (reader.read_line(), reader.wait()) == ("2", 0)
    assert catalog.prune(1) == (["v0001"], []), "a killed reader has no lock any more"
    assert entries(root) == {"catalog.json", "current", "v0003"}


BUILDER = """
import sys
from handsim import Pool, PoseEmbedding
from index import open_catalog

def wait(done, total):
    print("building", flush=True)
    sys.stdin.readline()

pool = Pool.open(sys.argv[1])
print(open_catalog(sys.argv[2]).build(pool, PoseEmbedding.fit(pool), progress=wait).name, flush=True)
"""


def test_versions_are_published_and_removed_while_another_process_builds(
    root: Path, small_pool: Pool, small_embedding: PoseEmbedding, start: Callable[..., ChildProcess]
) -> None:
    catalog = open_catalog(root)
    builder = start(BUILDER, small_pool.path, root)
    assert builder.read_line() == "building"
    who = rf"process {builder.pid} on \S+ since \S+"
    assert catalog.active_builder() is not None
    for refused in (lambda: catalog.build(small_pool, small_embedding), lambda: catalog.drop()):
        with pytest.raises(HandsimError, match=f"is being built by {who}; wait for it to end, or stop it"):
            refused()
    catalog.publish("v0001")
    assert catalog.rollback() == "v0003"
    assert catalog.prune(1) == (["v0001", "v0002"], [])
    builder.proceed()
    assert (builder.read_line(), builder.wait()) == ("v0004", 0)
    assert catalog.active_builder() is None
    assert catalog.publications() == ["v0004", "v0003"]
    with catalog.current() as version:
        assert version.search_hands(small_pool.hand_ids[:3], 2).is_found.all()


def test_a_killed_build_changes_nothing(
    root: Path, small_pool: Pool, small_embedding: PoseEmbedding, start: Callable[..., ChildProcess]
) -> None:
    builder = start(BUILDER, small_pool.path, root)
    assert builder.read_line() == "building"
    builder.kill()
    assert builder.wait() == -signal.SIGKILL
    assert (root / ".building").exists()
    catalog = open_catalog(root)
    assert [info.name for info in catalog.versions() if info.is_current] == ["v0003"]
    with catalog.current() as version:
        nearest = version.search_keypoints(small_pool.keypoints[:1], 1).hand_ids
        assert nearest[0, 0] == small_pool.hand_ids[0]
    assert catalog.build(small_pool, small_embedding).name == "v0004"
    assert not (root / ".building").exists()


def test_a_failed_build_leaves_nothing_behind(
    root: Path, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_catalog(root).build(small_pool, small_embedding, progress=interrupt)
    assert entries(root) == {"catalog.json", "current", "v0001", "v0002", "v0003"}


def test_pruning_removes_what_killed_processes_left_behind(root: Path) -> None:
    (root / ".building" / "shard").mkdir(parents=True)
    (root / ".removed-v0009").mkdir()
    (root / ".current.123").write_text("v0")
    (root / ".catalog.json.123").write_text("{")
    open_catalog(root).prune(3)
    assert entries(root) == {"catalog.json", "current", "v0001", "v0002", "v0003"}


def test_a_directory_after_a_killed_first_build_is_free(
    tmp_path: Path, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    (tmp_path / ".catalog.json.123").write_text("{")
    (tmp_path / ".pointer-lock").touch()
    assert open_catalog(tmp_path).build(small_pool, small_embedding).is_current
    assert entries(tmp_path) == {"catalog.json", "current", "v0001"}


def test_a_dropped_index_leaves_no_directory(root: Path) -> None:
    open_catalog(root).drop()
    assert not root.exists()


def test_nothing_is_added_in_place(root: Path, grown_pool: Pool) -> None:
    catalog = open_catalog(root)
    with pytest.raises(HandsimError, match=r"an embedded version never changes.*; leave --in-place out"):
        catalog.add(grown_pool, in_place=True)
    assert len(catalog.versions()) == 3


def segment_file(version: Path, pattern: str) -> Path:
    """The largest of the engine's files that match."""
    return max((version / "shard").rglob(pattern), key=lambda file: file.stat().st_size)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def garble(file: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "vectors deleted": lambda version: segment_file(version, "matrix.dat").unlink(),
    "segment's version deleted": lambda version: segment_file(version, "version.info").unlink(),
    "vectors cut": lambda version: cut(segment_file(version, "matrix.dat")),
    "ids cut": lambda version: cut(segment_file(version, "id_tracker.mappings")),
    "segment.json garbled": lambda version: garble(segment_file(version, "segment.json")),
    "edge_config.json garbled": lambda version: segment_file(version, "edge_config.json").write_text("{"),
    "ids garbled": lambda version: garble(segment_file(version, "id_tracker.mappings")),
    "shard emptied": lambda version: shutil.rmtree(version / "shard"),
    "version.json deleted": lambda version: (version / "version.json").unlink(),
    "version.json garbled": lambda version: (version / "version.json").write_text("[]"),
    "version.json of another kind": lambda version: (version / "version.json").write_text("{}"),
    "embedding deleted": lambda version: (version / "embedding.json").unlink(),
    "embedding garbled": lambda version: (version / "embedding.json").write_text("\0"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_reported_in_one_line_and_repaired_by_building(
    built: Path, small_pool: Pool, small_embedding: PoseEmbedding, tmp_path: Path, kind: str
) -> None:
    root = copy_index(built, tmp_path / "index")
    DAMAGE[kind](root / "v0001")
    with pytest.raises(HandsimError) as caught:
        open_catalog(root).current()
    message = str(caught.value)
    assert "\n" not in message
    assert str(root / "v0001") in message
    assert "`handsim index build`" in message
    open_catalog(root).build(small_pool, small_embedding)
    with open_catalog(root).current() as version:
        assert version.info.name == "v0002"


OPENER = """
import os, resource, sys
from handsim import HandsimError
from index import open_catalog
open_catalog(sys.argv[1]).current().close()
open_files = len(os.listdir("/proc/self/fd")) - 1
for limit in range(open_files - 1, open_files + 8):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
    try:
        open_catalog(sys.argv[1]).current().close()
    except (HandsimError, OSError) as error:
        print(error)
"""


def test_a_version_is_not_called_damaged_while_too_many_files_are_open(root: Path) -> None:
    command = [sys.executable, "-c", OPENER, str(root)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    messages = run.stdout.splitlines()
    assert messages
    assert [message for message in messages if "Too many open files" not in message] == []
    assert [message for message in messages if "damaged" in message or "not an index" in message] == []


def test_a_version_without_its_record_can_be_removed(root: Path) -> None:
    (root / "v0001" / "version.json").unlink()
    catalog = open_catalog(root)
    assert catalog.remove("v0001")
    assert [info.name for info in catalog.versions()] == ["v0002", "v0003"]


def test_an_embedding_of_another_version_is_refused(root: Path) -> None:
    shutil.copy(root / "v0002" / "embedding.json", root / "v0003" / "embedding.json")
    with pytest.raises(HandsimError, match="not the one it was built with"):
        open_catalog(root).current()


def test_a_pointer_to_no_version_is_repaired_by_publishing(root: Path) -> None:
    (root / "current").write_bytes(b"\xffv9\n")
    with pytest.raises(NotThereError, match=r"no version .*\(it has: v0001, v0002, v0003\); `handsim"):
        open_catalog(root).current()
    open_catalog(root).publish("v0001")
    open_catalog(root).current().close()


def test_files_of_other_programs_and_newer_formats_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(HandsimError, match="is not an index of handsim"):
            open_catalog(path)
    for file in (root / "v0003" / "version.json", root / "catalog.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 2}))
        with pytest.raises(HandsimError, match="has format 2, this handsim reads up to 1; upgrade handsim"):
            open_catalog(root).current()


def test_a_copied_version_is_as_sound_as_its_original(root: Path, small_pool: Pool, grown_pool: Pool) -> None:
    before = contents(root / "v0003")
    calls: list[tuple[int, int]] = []
    catalog = open_catalog(root)
    catalog.add(grown_pool, progress=lambda *done: calls.append(done))
    assert calls[-1] == (30, 30), "only those that are new"
    assert contents(root / "v0003") == before
    with catalog.current() as version:
        assert verify(version, read_all=True, pool_ids=grown_pool.hand_ids).problems() == []

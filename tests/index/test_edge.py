"""The embedded index between processes: readers, builders, locks, damage, files of other programs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from handsim.files import FileLock
from index import Filter, IndexSettings, IndexVersion, SearchOptions, open_catalog, verify
from index.edge.columns import COLUMNS_FILE
from index.edge.layout import VERSION_FILE
from index.edge.locks import active_builder, lock_builder, lock_version
from tests.index.builders import SMALL_GRAPH, ChildProcess, SmallData, copy_index, write_pool

pytestmark = pytest.mark.slow


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
assert not {"torch", "qdrant_client", "grpc"} & set(sys.modules)
print(*neighbors.hand_ids.ravel().tolist())
"""


def test_many_processes_read_one_version(built: Path, pool: Pool) -> None:
    hands = pool.hand_ids[::100]
    command = [sys.executable, "-c", READERS, str(built), *map(str, hands.tolist())]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [reader.communicate()[0] for reader in readers]
    with open_catalog(built).current() as version:
        own = version.search_hands(hands, 3, other_video=True).hand_ids.ravel().tolist()
    assert answers == [" ".join(map(str, own)) + "\n"] * 2
    assert all(reader.returncode == 0 for reader in readers)


@pytest.mark.parametrize(
    "filter", [Filter(min_score=0.76), Filter(sides=("left",)), Filter(labels=("pose 1",))]
)
def test_of_hands_of_which_a_filter_admits_few_none_is_missed(embedded: IndexVersion, filter: Filter) -> None:
    hands = embedded.sample(200)
    found, true = (
        embedded.search_hands(hands, 3, other_video=True, options=SearchOptions(filter, ef=1, exact=exact))
        for exact in (False, True)
    )
    np.testing.assert_array_equal(found.distances, true.distances)


def test_neither_reading_nor_adding_changes_a_version_and_nothing_is_added_in_place(
    root: Path, small: SmallData
) -> None:
    before = contents(root / "v0003")
    calls: list[tuple[int, int]] = []
    catalog = open_catalog(root)
    with catalog.current() as version:
        options = SearchOptions(one_per_video=True)
        assert version.search_hands(small.pool.hand_ids[:50], 3, options=options).is_found.all()
    with pytest.raises(HandsimError, match=r"an embedded version never changes.*; leave --in-place out"):
        catalog.add(small.grown_pool, in_place=True)
    catalog.add(small.grown_pool, progress=lambda *done: calls.append(done))
    assert calls[-1] == (30, 30), "only those that are new"
    assert contents(root / "v0003") == before


READER = """
import sys
from index import open_catalog
with open_catalog(sys.argv[1]).open("v0001") as version:
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_version_that_another_process_reads_stays(root: Path, start: Callable[..., ChildProcess]) -> None:
    catalog = open_catalog(root)
    reader = start(READER, root)
    assert reader.read_line() == "open"
    assert catalog.prune(1) == (["v0002"], ["v0001"])
    with pytest.raises(HandsimError, match=f"a reader has v0001 of {root} open; end it first"):
        catalog.drop()
    reader.kill()
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


def test_a_builder_keeps_only_other_builders_out_and_leaves_nothing_when_it_is_killed(
    root: Path, small: SmallData, start: Callable[..., ChildProcess]
) -> None:
    catalog = open_catalog(root)
    builder = start(BUILDER, small.pool.path, root)
    assert builder.read_line() == "building"
    who = rf"process {builder.pid} on \S+ since \S+"
    assert catalog.active_builder() is not None
    for refused in (lambda: catalog.build(small.pool, small.embedding), lambda: catalog.drop()):
        with pytest.raises(HandsimError, match=f"is being built by {who}; wait for it to end, or stop it"):
            refused()
    catalog.publish("v0001")
    assert catalog.rollback() == "v0003"
    assert catalog.prune(1) == (["v0001", "v0002"], [])
    builder.kill()
    assert catalog.active_builder() is None
    assert entries(root) == {"catalog.json", "current", "v0003", ".building"}
    with catalog.current() as version:
        assert version.search_hands(small.pool.hand_ids[:3], 2).is_found.all()
    assert catalog.build(small.pool, small.embedding).name == "v0004"
    assert catalog.publications() == ["v0004", "v0003"]
    assert entries(root) == {"catalog.json", "current", "v0003", "v0004"}


def test_a_failed_build_leaves_nothing_behind_and_pruning_removes_what_killed_processes_left(
    root: Path, small: SmallData
) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_catalog(root).build(small.pool, small.embedding, progress=interrupt)
    assert entries(root) == {"catalog.json", "current", "v0001", "v0002", "v0003"}
    (root / ".building" / "shard").mkdir(parents=True)
    (root / ".removed-v0009").mkdir()
    (root / ".current.123").write_text("v0")
    (root / ".catalog.json.123").write_text("{")
    open_catalog(root).prune(3)
    assert entries(root) == {"catalog.json", "current", "v0001", "v0002", "v0003"}


def test_what_a_killed_process_left_is_named_before_it_is_pruned(
    root: Path, small: SmallData, start: Callable[..., ChildProcess]
) -> None:
    catalog, sentences = open_catalog(root), list[str]()
    builder = start(BUILDER, small.pool.path, root)
    assert builder.read_line() == "building"
    catalog.prune(3, sentences.append)
    assert sentences == [], "a builder is at work"
    builder.kill()
    (root / ".removed-v0009").mkdir()
    assert list(map(str, catalog.remnants())) == [
        ".building (unfinished)",
        ".removed-v0009 (removed in part)",
    ]
    catalog.prune(3, sentences.append)
    assert sentences == ["removing .building (unfinished)", "removing .removed-v0009 (removed in part)"]
    assert catalog.remnants() == []


def test_a_finished_version_that_was_damaged_since_is_not_published(root: Path, small: SmallData) -> None:
    catalog, sentences = open_catalog(root), list[str]()
    settings = IndexSettings(m=8)
    assert catalog.build(small.pool, small.embedding, settings, publish=False).name == "v0004"
    garble(segment_file(root / "v0004", "segment.json"))
    built = catalog.build(small.pool, small.embedding, settings, announce=sentences.append)
    assert (built.name, built.is_current) == ("v0005", True)
    assert "v0004 is not fit for use, another one is written: " in sentences[1]
    assert "was cut or changed" in sentences[1]


def test_a_version_of_an_older_program_has_no_origin_and_is_read(root: Path, small: SmallData) -> None:
    (root / "v0003" / "origin").unlink()
    catalog = open_catalog(root)
    assert catalog.current_info().origin == ""
    catalog.publish("v0001")
    assert catalog.add(small.grown_pool, publish=False).name == "v0004"
    (root / "v0004" / "origin").unlink()
    assert catalog.add(small.grown_pool).name == "v0005", "what it was made of is not known"


def test_a_directory_after_a_killed_first_build_is_free(tmp_path: Path, small: SmallData) -> None:
    (tmp_path / ".catalog.json.123").write_text("{")
    (tmp_path / ".pointer-lock").touch()
    assert open_catalog(tmp_path).build(small.pool, small.embedding).is_current
    assert entries(tmp_path) == {"catalog.json", "current", "v0001"}


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
    "columns cut": lambda version: cut(version / COLUMNS_FILE),
    "columns garbled": lambda version: garble(version / COLUMNS_FILE),
    "embedding deleted": lambda version: (version / "embedding.json").unlink(),
    "embedding garbled": lambda version: (version / "embedding.json").write_text("\0"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_reported_in_one_line_and_repaired_by_building(
    built: Path, small: SmallData, tmp_path: Path, kind: str
) -> None:
    root = copy_index(built, tmp_path / "index")
    DAMAGE[kind](root / "v0001")
    with pytest.raises(HandsimError, match=rf"^.*{root / 'v0001'} .*`handsim index build` again$"):
        open_catalog(root).current()
    if kind == "shard emptied":
        assert open_catalog(root).build(small.pool, small.embedding).name == "v0002"
        open_catalog(root).current().close()


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


def test_a_version_without_its_record_can_be_removed_and_a_dropped_index_leaves_nothing(root: Path) -> None:
    (root / "v0001" / "version.json").unlink()
    catalog = open_catalog(root)
    assert catalog.remove("v0001")
    assert [info.name for info in catalog.versions()] == ["v0002", "v0003"]
    catalog.drop()
    assert not root.exists()


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


@pytest.mark.parametrize(
    "settings", [SMALL_GRAPH, IndexSettings(m=8, index_above_kb=1, full_scan_below_kb=10)]
)
def test_a_graph_that_grew_finds_as_much_as_one_built_at_once(
    pool: Pool, embedding: PoseEmbedding, tmp_path: Path, settings: IndexSettings
) -> None:
    catalog = open_catalog(tmp_path / "index")
    catalog.build(pool, embedding, settings)
    assert catalog.add(write_pool(tmp_path / "pool", videos=80)).settings == settings
    with catalog.current() as version:
        measured = verify(version, sample=1200, read_all=True)
    assert (measured.points, measured.indexed_share, measured.sample) == (1200, 1.0, 1200)
    assert not measured.altered
    assert measured.recall_at_1 >= 0.99
    assert measured.recall_at_10 >= 0.95


def test_a_version_of_an_older_handsim_without_columns_answers_and_grows_as_ever(
    root: Path, small: SmallData, tmp_path: Path
) -> None:
    def answer() -> tuple[list[int], list[float]]:
        with open_catalog(root).current() as version:
            found = version.search_hands(small.pool.hand_ids[::10], 2, other_video=True)
            assert not verify(version, sample=10, read_all=True).altered
            return found.hand_ids.ravel().tolist(), version.vectors(small.pool.hand_ids).ravel().tolist()

    expected = answer()
    for file in root.glob(f"*/{COLUMNS_FILE}"):
        file.unlink()
    assert answer() == expected
    grown = open_catalog(root).add(write_pool(tmp_path / "pool", videos=80))
    assert grown.points > len(small.pool)
    assert answer()[1] == expected[1]


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
for _ in range(10):
    try:
        commands[random.integers(len(commands))]()
    except HandsimError as error:
        if not any(text in str(error) for text in EXPECTED):
            raise
"""


def test_three_people_at_once_leave_a_sound_index(root: Path, small: SmallData) -> None:
    command = [sys.executable, "-c", PERSON, str(root), str(small.pool.path), str(small.grown_pool.path)]
    people = [subprocess.Popen([*command, seed], stderr=subprocess.PIPE, text=True) for seed in "012"]
    assert [person.communicate()[1] for person in people] == ["", "", ""]
    catalog = open_catalog(root)
    catalog.prune(keep=2)
    names = {info.name for info in catalog.versions()}
    assert entries(root) == {"catalog.json", "current", *names}
    for name in names:
        with catalog.open(name) as version:
            assert verify(version, sample=20, read_all=True).problems() == []


def test_reading_who_builds_stops_no_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_reader_waits_for_a_removal_that_may_not_happen(root: Path) -> None:
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
def test_what_killed_readers_left_is_not_copied_and_goes(root: Path, small: SmallData, is_read: bool) -> None:
    version = root / "v0003"
    files = [version / "shard" / ".atomicwriteAbCdEf" / "tmpfile.tmp", version / ".verification.json.9"]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("{")
    catalog = open_catalog(root)
    lock = lock_version(version / VERSION_FILE, exclusive=False) if is_read else None
    assert catalog.add(small.grown_pool).name == "v0004"
    assert not list((root / "v0004").rglob(".atomicwrite*"))
    catalog.sweep()
    # While somebody reads the version, such a file may belong to that reader.
    assert [file.exists() for file in files] == [is_read, False]
    if lock is not None:
        lock.release()
        catalog.sweep()
        assert not files[0].parent.exists()

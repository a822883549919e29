"""Versions of an embedded index: built, published, reopened, shared, killed, damaged."""

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

from handsim import HandsimError, Pool, PoolWriter, PoseEmbedding
from handsim.errors import NotThereError
from index import SearchOptions, open_catalog
from index.catalog import Catalog
from tests.index.builders import copy_index


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "index")


def test_nothing_built_yet(catalog: Catalog) -> None:
    assert catalog.versions() == []
    with pytest.raises(NotThereError, match="`handsim index build`"):
        catalog.current()
    with pytest.raises(NotThereError, match=r"no version 'v0001' \(it has: none\)"):
        catalog.publish("v0001")


def test_build_publish_and_go_back(catalog: Catalog, pool: Pool, embedding: PoseEmbedding) -> None:
    calls: list[tuple[int, int]] = []
    first = catalog.build(pool, embedding, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(pool), len(pool))
    assert (first.name, first.points, first.dimension, first.is_current) == ("v0001", len(pool), 14, True)
    assert first.embedding_fingerprint == embedding.fingerprint
    assert first.bytes_on_disk is not None
    assert first.bytes_on_disk > len(pool) * 14 * 4
    reader = catalog.current()

    other = PoseEmbedding.fit(pool, components=5)
    second = catalog.build(pool, other, publish=False)
    assert [info.is_current for info in catalog.versions()] == [True, False]
    catalog.publish(second.name)
    assert [info.is_current for info in catalog.versions()] == [False, True]
    with catalog.current() as version:
        assert version.embedding.fingerprint == other.fingerprint
        assert version.search_keypoints(pool.keypoints[:2], 1).hand_ids[:, 0].tolist() == (
            pool.hand_ids[:2].tolist()
        )
    # Who opened the first version before goes on in it, with its own embedding.
    assert reader.info.name == "v0001"
    assert reader.search_keypoints(pool.keypoints[:1], 1).hand_ids[0, 0] == pool.hand_ids[0]
    reader.close()
    catalog.publish("v0001")
    with catalog.current() as version, catalog.open("v0002") as newer:
        assert (version.info.dimension, newer.info.dimension) == (14, 5)


def test_an_empty_pool_builds_nothing(catalog: Catalog, embedding: PoseEmbedding, tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool"):
        pass
    with pytest.raises(HandsimError, match="there are no hands"):
        catalog.build(Pool.open(tmp_path / "pool"), embedding)
    assert catalog.versions() == []


READER = """
import sys
import numpy as np
from index import SearchOptions, open_catalog
hands = np.array(sys.argv[2:], dtype=np.uint64)
for _ in range(5):
    with open_catalog(sys.argv[1]).current() as version:
        for _ in range(20):
            found = version.search_hands(hands, 3, other_video=True)
assert "torch" not in sys.modules
print(*found.hand_ids.ravel().tolist())
"""


def test_many_processes_read_one_version(built: Path, pool: Pool) -> None:
    hands = pool.hand_ids[::100]
    command = [sys.executable, "-c", READER, str(built), *map(str, hands.tolist())]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [reader.communicate()[0] for reader in readers]
    with open_catalog(built).current() as version:
        own = version.search_hands(hands, 3, other_video=True).hand_ids.ravel().tolist()
    assert answers == [" ".join(map(str, own)) + "\n"] * 4
    assert all(reader.returncode == 0 for reader in readers)


BUILDER = """
import os, signal, sys
from handsim import Pool, PoseEmbedding
from index import SearchOptions, open_catalog

def die(done, total):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

pool = Pool.open(sys.argv[1])
open_catalog(sys.argv[2]).build(pool, PoseEmbedding.fit(pool, components=6), progress=die)
"""


def test_a_killed_build_harms_nothing(built: Path, pool: Pool, tmp_path: Path) -> None:
    root = copy_index(built, tmp_path / "index")
    command = [sys.executable, "-c", BUILDER, str(pool.path), str(root), "1"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (root / ".building").exists()
    catalog = open_catalog(root)
    assert [(info.name, info.is_current) for info in catalog.versions()] == [("v0001", True)]
    with catalog.current() as version:
        assert version.search_keypoints(pool.keypoints[:1], 1).hand_ids[0, 0] == pool.hand_ids[0]
    assert catalog.build(pool, PoseEmbedding.fit(pool, components=6)).name == "v0002"
    assert not (root / ".building").exists()


def test_two_builders_at_once(catalog: Catalog, pool: Pool, embedding: PoseEmbedding) -> None:
    def build_again(done: int, total: int) -> None:
        with pytest.raises(HandsimError, match=f"is being built by process {os.getpid()} on .*; wait"):
            catalog.build(pool, embedding)

    catalog.build(pool, embedding, progress=build_again)
    assert [info.name for info in catalog.versions()] == ["v0001"]


def segment_file(root: Path, pattern: str) -> Path:
    """The largest of the engine's files that match."""
    return max((root / "v0001" / "shard").rglob(pattern), key=lambda file: file.stat().st_size)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "vectors deleted": lambda root: segment_file(root, "matrix.dat").unlink(),
    "segment's version deleted": lambda root: segment_file(root, "version.info").unlink(),
    "vectors cut": lambda root: cut(segment_file(root, "matrix.dat")),
    "ids cut": lambda root: cut(segment_file(root, "id_tracker.mappings")),
    "segment.json garbage": lambda root: segment_file(root, "segment.json").write_bytes(b"\xff" * 304),
    "edge_config.json garbage": lambda root: segment_file(root, "edge_config.json").write_text("{"),
    "ids garbage, which makes the engine panic": lambda root: segment_file(
        root, "id_tracker.mappings"
    ).write_bytes(b"\xff" * segment_file(root, "id_tracker.mappings").stat().st_size),
    "shard emptied": lambda root: shutil.rmtree(root / "v0001" / "shard"),
    "version.json deleted": lambda root: (root / "v0001" / "version.json").unlink(),
    "version.json garbage": lambda root: (root / "v0001" / "version.json").write_text("[]"),
    "version.json of another kind": lambda root: (root / "v0001" / "version.json").write_text("{}"),
    "embedding deleted": lambda root: (root / "v0001" / "embedding.json").unlink(),
    "embedding garbage": lambda root: (root / "v0001" / "embedding.json").write_text("\0"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_in_one_line_and_mended_by_building(
    built: Path, pool: Pool, embedding: PoseEmbedding, tmp_path: Path, kind: str
) -> None:
    root = copy_index(built, tmp_path / "index")
    DAMAGE[kind](root)
    with pytest.raises(HandsimError) as caught:
        open_catalog(root).current()
    message = str(caught.value)
    assert "\n" not in message
    assert str(root / "v0001") in message
    assert "`handsim index build`" in message
    open_catalog(root).build(pool, embedding)
    with open_catalog(root).current() as version:
        assert version.info.name == "v0002"


def test_another_embedding_slipped_in(built: Path, pool: Pool, tmp_path: Path) -> None:
    root = copy_index(built, tmp_path / "index")
    PoseEmbedding.fit(pool, normalisation="none").save(root / "v0001" / "embedding.json")
    with pytest.raises(HandsimError, match="not the one it was built with"):
        open_catalog(root).current()


def test_a_pointer_to_nowhere(built: Path, tmp_path: Path) -> None:
    root = copy_index(built, tmp_path / "index")
    (root / "current").write_bytes(b"\xffv9\n")
    with pytest.raises(NotThereError, match=r"no version .*\(it has: v0001\); `handsim index build`"):
        open_catalog(root).current()
    open_catalog(root).publish("v0001")
    open_catalog(root).current().close()


def test_directories_that_are_no_index(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(HandsimError, match="is not an index of handsim"):
            open_catalog(path)


def test_a_newer_format_is_refused(built: Path, tmp_path: Path) -> None:
    root = copy_index(built, tmp_path / "index")
    file = root / "v0001" / "version.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 2}))
    with pytest.raises(HandsimError, match="has format 2, this handsim reads up to 1; upgrade handsim"):
        open_catalog(root).current()


def test_reading_changes_nothing(built: Path, pool: Pool) -> None:
    def contents() -> dict[str, bytes]:
        files = (built / "v0001").rglob("*")
        return {str(file): file.read_bytes() for file in files if file.is_file()}

    before = contents()
    with open_catalog(built).current() as version:
        found = version.search_hands(pool.hand_ids[:50], 5, options=SearchOptions(one_per_video=True))
    assert np.isfinite(found.distances).all()
    assert contents() == before

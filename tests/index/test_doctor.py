"""What `index doctor` finds, and that it finds nothing where nothing is wrong."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from qdrant_client import models

from index import open_catalog
from index.catalog import Catalog
from index.doctor import examine
from index.edge import layout
from index.edge.columns import COLUMNS_FILE
from index.info import IndexSettings
from index.points import PoolPoints
from index.server.leases import LeaseHolder, LeaseRegistry
from tests.index.builders import SMALL_GRAPH, MemoryServer, SmallData, copy_index
from tests.index.server.small_cluster import SmallCluster


def wrong(catalog: Catalog) -> list[str]:
    return [str(finding) for finding in examine(catalog) if finding.severity == "wrong"]


def the_only(findings: list[str], *words: str) -> None:
    """There is one finding, and these words are in it."""
    assert len(findings) == 1, findings
    for word in words:
        assert word in findings[0]


@pytest.fixture
def embedded(built: Path, tmp_path: Path) -> Catalog:
    """A sound index in a directory."""
    return open_catalog(copy_index(built, tmp_path / "index"))


def test_nothing_is_wrong_with_a_sound_index(built: Path, published: Catalog) -> None:
    assert examine(open_catalog(built)) == []
    assert wrong(published) == []


def test_of_what_a_server_does_not_tell_nothing_is_guessed(qdrant: MemoryServer, small: SmallData) -> None:
    catalog = qdrant.catalog()
    catalog.build(small.pool, small.embedding)
    unknown = [finding.text for finding in examine(catalog)]
    assert [finding.severity for finding in examine(catalog)] == ["unknown"] * len(unknown)
    assert any("shards of hands-v0001" in text for text in unknown)


def test_no_index_and_none_that_is_current(catalog: Catalog, small: SmallData) -> None:
    the_only(wrong(catalog), "no version to search", "`handsim index build`")
    catalog.build(small.pool, small.embedding, publish=False)
    the_only(wrong(catalog), "no version is current", "`handsim index publish v0001`")


def test_an_alias_that_points_to_something_else(qdrant: MemoryServer, small: SmallData) -> None:
    catalog = qdrant.catalog()
    catalog.build(small.pool, small.embedding)
    qdrant.client.create_collection("others", vectors_config={})
    delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="hands"))
    alias = models.CreateAlias(collection_name="others", alias_name="hands")
    create = models.CreateAliasOperation(create_alias=alias)
    qdrant.client.update_collection_aliases([delete, create])
    the_only(wrong(catalog), "points to others", "`handsim index publish v0001`")


def test_a_pointer_to_a_version_that_is_gone(embedded: Catalog) -> None:
    assert embedded.root is not None
    (embedded.root / "current").write_text("v0009\n")
    the_only(wrong(embedded), "v0009 is current, and not there", "`handsim index publish v0001`")


def test_unfinished_and_unverified_versions(catalog: Catalog, small: SmallData) -> None:
    catalog.build(small.pool, small.embedding)
    catalog.write_version(PoolPoints(small.pool, small.embedding), small.embedding, IndexSettings())
    the_only(wrong(catalog), "v0002 is not verified", "`handsim index verify v0002`")


def test_what_killed_builds_left(embedded: Catalog) -> None:
    assert embedded.root is not None
    (embedded.root / layout.BUILDING).mkdir()
    the_only(wrong(embedded), ".building (unfinished)", "`handsim index prune`")


def test_damaged_files_and_a_failed_verification(embedded: Catalog) -> None:
    assert embedded.root is not None
    verification = embedded.read_verification("v0001")
    assert verification is not None
    embedded.record_verification("v0001", replace(verification, recall_at_1=0.5))
    name = next(iter(layout.read_record(embedded.root / "v0001").files))
    (embedded.root / "v0001" / layout.SHARD / name).unlink()
    found = wrong(embedded)
    assert len(found) == 2
    assert "recall@1 is 0.5000" in found[0]
    assert f"{name} is missing" in found[1]
    (embedded.root / "v0001" / "version.json").write_text("{}")
    assert any("version.json is missing or garbled" in text for text in wrong(embedded))


def test_a_version_of_an_older_handsim_is_a_hint(embedded: Catalog) -> None:
    assert embedded.root is not None
    (embedded.root / "v0001" / COLUMNS_FILE).unlink()
    (finding,) = examine(embedded)
    assert finding.severity == "hint"
    assert "older handsim" in finding.text


def test_a_disk_that_is_full_or_only_read(built: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        catalog = open_catalog(copy_index(built, disk / "index"))
        free = shutil.disk_usage(disk).free
        subprocess.run(["fallocate", "--length", str(free - 2**17), str(disk / "filler")], check=True)
        assert any("MB are free" in text for text in wrong(catalog))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert any("nothing can be written" in text and "Read-only" in text for text in wrong(catalog))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_leases_of_processes_that_ended_and_of_clocks_that_are_ahead(
    qdrant: MemoryServer, small: SmallData
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small.pool, small.embedding)
    registry = LeaseRegistry(qdrant.connection(), "hands", "memory/hands")
    far = LeaseHolder("reader", "v0001", "", "far away", 7, "", qdrant.now + 500)
    registry.put_reader(far)
    registry.put_reader(replace(far, host="long gone", seen_at=qdrant.now - 4000))
    the_only(wrong(catalog), "process 7 on far", "500 s in the future", "NTP")
    hints = [finding.text for finding in examine(catalog) if finding.severity == "hint"]
    the_only(hints, "process 7 on long", "not signed in for 4,000 s")


@pytest.mark.slow
def test_a_node_that_is_lost(small: SmallData) -> None:
    with SmallCluster() as cluster, open_catalog(cluster.address() + "?patience=2") as catalog:
        settings = replace(SMALL_GRAPH, shards=3, replicas=2)
        catalog.build(small.pool, small.embedding, settings)
        assert wrong(catalog) == []
        health = catalog.read_health("v0001")
        assert health is not None
        assert "shard 0 on node 1, 2; shard 1 on node 2, 3; shard 2 on node 1, 3" in str(health)
        cluster.kill(1)
        found = wrong(catalog)
        assert any("a node of the address is away" in text for text in found), found
        assert any("node 2 at http" in text and "does not hear" in text for text in found)
        assert any("hands-v0001: shard 0, 1 is dead on node 2" in text for text in found), found
        cluster.kill(2)
        found = wrong(catalog)
        assert any("hands-v0001 has no active replica of shard 1:" in text for text in found), found

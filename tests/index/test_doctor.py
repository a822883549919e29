"""What `index doctor` finds, and that it finds nothing where nothing is wrong."""

import shutil
import subprocess
from collections.abc import Iterator
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
from index.server.address import ServerAddress
from index.server.client import connect
from index.server.collection import VersionCollection
from index.server.health import examine_nodes
from index.server.leases import LeaseHolder, LeaseRegistry
from tests.index.builders import SMALL_GRAPH, MemoryServer, SmallData, copy_index
from tests.index.server.small_cluster import SmallCluster
from tests.index.server.small_server import SmallServer
from tests.index.server.test_nodes import Greeter, address_of, node


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


@pytest.fixture(scope="module")
def reporting(small: SmallData) -> Iterator[tuple[SmallServer, Catalog]]:
    """A sound index on a server that tells what a test has it tell."""
    with SmallServer() as server, open_catalog(server.address) as catalog:
        catalog.build(small.pool, small.embedding)
        yield server, catalog


@pytest.mark.slow
@pytest.mark.parametrize(
    ("report", "severity", "words"),
    [
        ({"status": models.CollectionStatus.RED}, "wrong", ["v0001 is red", "logs of its nodes"]),
        (
            {"status": models.CollectionStatus.GREY},
            "wrong",
            ["v0001 is grey", "PATCH /collections/hands-v0001"],
        ),
        ({"status": models.CollectionStatus.YELLOW}, "hint", ["v0001 is yellow", "slower until it is done"]),
        (
            {"optimizer_status": models.OptimizersStatusOneOf1(error="no memory\nleft")},
            "wrong",
            ["optimiser stopped at v0001 (no memory left)", "memory of a node"],
        ),
        (
            {"warnings": [models.CollectionWarning(message="too large")]},
            "hint",
            ["warns of v0001: too large"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_what_a_server_tells_of_a_version(
    reporting: tuple[SmallServer, Catalog], report: dict[str, object], severity: str, words: list[str]
) -> None:
    server, catalog = reporting
    assert examine(catalog) == []
    server.report = report
    try:
        (finding,) = examine(catalog)
        health = catalog.read_health("v0001")
    finally:
        server.report = {}
    assert finding.severity == severity
    the_only([str(finding)], *words)
    assert health is not None
    assert "warnings" in report or health.severity == severity


@pytest.mark.slow
def test_a_version_that_is_linked_for_hours(reporting: tuple[SmallServer, Catalog]) -> None:
    server, catalog = reporting
    collection = VersionCollection(connect(ServerAddress.parse(server.address), None), "hands-v0001")
    built_at = collection.read_record().built_at
    server.report = {"status": models.CollectionStatus.YELLOW}
    try:
        collection.update_metadata(built_at="2026-01-02T03:04:05+00:00")
        the_only(wrong(catalog), "v0001 is yellow", "h after it was built", "load and the logs")
    finally:
        server.report = {}
        collection.update_metadata(built_at=built_at)
        collection.connection.close()


@pytest.mark.slow
def test_a_shard_on_its_way_and_the_size_of_a_version(reporting: tuple[SmallServer, Catalog]) -> None:
    server, catalog = reporting
    server.transfers = [
        models.ShardTransferInfo.model_validate({"shard_id": 0, "from": 1, "to": 2, "sync": True})
    ]
    try:
        found, health = examine(catalog), catalog.read_health("v0001")
    finally:
        server.transfers = []
    assert {finding.severity for finding in found} == {"hint"}
    moved = "shard 0 is on its way from node 1 to node 2"
    assert [finding.text for finding in found] == [f"hands-v0001: {moved}", f"hands-catalog: {moved}"]
    assert health is not None
    assert (health.severity, health.bytes) == ("hint", 60 * 14 * 4)
    assert moved in str(health)


@pytest.mark.slow
def test_nodes_of_different_versions() -> None:
    with Greeter(node(1, 2)) as one, Greeter(node(2, 1), version="1.17.1") as other:
        connection = connect(address_of(one, other), None)
        found = [str(finding) for finding in examine_nodes(connection)]
        connection.close()
    the_only(found, f":{one.port} 1.18.3", f":{other.port} 1.17.1", "upgrade all of them to one")


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

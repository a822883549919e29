"""A cluster of three nodes, one of which is killed after the other while an index is made, changed, read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index import Catalog, IndexSettings, MinedPairs, mine, open_catalog, verify
from index.copy import Placement, copy_catalog
from index.server.address import ServerAddress
from index.server.catalog import ServerCatalog
from index.server.client import connect
from tests.index.builders import SmallData
from tests.index.server.losses import Losses
from tests.index.server.refusals import LOST_NODE
from tests.index.server.small_cluster import SmallCluster
from tests.index.server.small_server import READS, WRITES, SmallServer

pytestmark = pytest.mark.slow

SPREAD = IndexSettings(shards=6, replicas=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SmallCluster]:
    with SmallCluster() as cluster:
        yield cluster


@pytest.fixture
def losses(cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Losses]:
    losses = Losses(cluster, monkeypatch)
    yield losses
    losses.await_return()


def assert_whole(catalog: Catalog) -> None:
    """Every version holds what was written, and nobody builds."""
    for info in catalog.versions():
        with catalog.open(info.name) as version:
            assert verify(version, read_all=True).problems() == []
    assert catalog.active_builder() is None


def test_an_index_is_made_and_changed_while_each_node_in_turn_is_killed(
    cluster: SmallCluster, losses: Losses, small: SmallData, small_requests: None
) -> None:
    with open_catalog(cluster.address("life")) as catalog:
        with losses.before(5, 24, 40):
            built = catalog.build(small.pool, small.embedding, SPREAD)
        assert (built.name, built.points, catalog.current_name()) == ("v0001", 60, "v0001")
        with losses.before(12, 30, 48):
            added = catalog.add(small.grown_pool)
        assert (added.name, added.points, catalog.current_name()) == ("v0002", 90, "v0002")
        for name in ("v0001", "v0002", "v0001"):
            with losses.before(6):
                catalog.publish(name)
            assert catalog.current_name() == name
        with losses.before(8, 17, 26):
            grown = catalog.add(small.grown_pool, in_place=True)
        assert (grown.name, grown.points, grown.checksum) == ("v0001", 90, added.checksum)
        with losses.before(8):
            assert catalog.rollback() == "v0002"
        assert_whole(catalog)
        with losses.before(4, 10):
            assert catalog.prune(1) == (["v0001"], []), "no lease of a reader or publisher was left behind"
        assert_whole(catalog)
        with losses.before(6):
            catalog.drop()
        assert catalog.versions() == []


def test_an_index_is_copied_there_and_back_and_mined_while_each_node_in_turn_is_killed(
    cluster: SmallCluster, losses: Losses, three_versions: Path, small: SmallData, tmp_path: Path
) -> None:
    source = open_catalog(three_versions)
    with (
        open_catalog(cluster.address("copy")) as there,
        open_catalog(tmp_path / "back") as back,
    ):
        with losses.before(10, 40, 70):
            assert copy_catalog(source, there, Placement(shards=3)) == ["v0001", "v0002", "v0003"]
        with losses.before(5, 14, 23):
            copy_catalog(there, back)
        for copy in (there, back):
            assert copy.publications() == source.publications()
            assert_whole(copy)
        with source.current() as version:
            pairs = MinedPairs.concatenate(mine(version, small.pool.hand_ids))
        with there.current() as version, losses.before(1, 2, 3):
            mined = MinedPairs.concatenate(
                batch for hand in small.pool.hand_ids for batch in mine(version, hand[None])
            )
        np.testing.assert_array_equal(mined.hand_ids, pairs.hand_ids)
        np.testing.assert_allclose(mined.distances, pairs.distances, rtol=1e-4)


def test_an_index_is_made_and_changed_while_a_node_stays_away(
    cluster: SmallCluster, losses: Losses, small: SmallData, small_requests: None
) -> None:
    losses.victims = 2  # the highest, through which writes go first
    with open_catalog(cluster.address("without")) as catalog:
        catalog.build(small.pool, small.embedding, SPREAD)
        number = losses.kill(returns=False)
        try:
            assert catalog.build(small.pool, small.other_embedding, SPREAD).name == "v0002"
            catalog.publish("v0001")
            assert catalog.add(small.grown_pool, in_place=True).points == 90
            assert catalog.rollback() == "v0002"
            assert catalog.prune(1) == (["v0001"], [])
        finally:
            cluster.start(number)
            cluster.await_recovery(number)
        assert_whole(catalog)


@pytest.mark.parametrize("over_grpc", [True, False], ids=["grpc", "rest"])
@pytest.mark.filterwarnings("ignore:no gRPC at port")
def test_what_a_cluster_answers_while_a_node_is_away_is_waited_out(small: SmallData, over_grpc: bool) -> None:
    with SmallServer(grpc=over_grpc) as server:
        for number, name in enumerate([*WRITES, *READS] * 3):
            server.refuse(LOST_NODE[number % len(LOST_NODE)], [name], applied=number % 2 == 0)
        connection = connect(ServerAddress.parse(server.address), None, sleep=lambda seconds: None)
        with ServerCatalog(connection) as catalog:
            catalog.build(small.pool, small.embedding)
            assert catalog.add(small.grown_pool).points == 90
            assert catalog.rollback() == "v0001"
            assert_whole(catalog)
            catalog.publish("v0002")
            assert catalog.prune(1) == (["v0001"], [])
        assert {script.times for script in server.scripts} == {0}, "each refusal was met"

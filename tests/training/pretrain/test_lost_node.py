"""A run whose pairs come from a cluster, of which one node after the other is killed."""

from pathlib import Path

import pytest

from index import open_catalog
from index.copy import Placement, copy_catalog
from tests.index.server.losses import Losses
from tests.index.server.small_cluster import SmallCluster
from tests.training.pretrain.builders import Place

pytestmark = pytest.mark.slow


def test_a_run_goes_on_while_each_node_of_its_index_in_turn_is_killed(
    world: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.train("undisturbed")
    with SmallCluster() as cluster:
        with open_catalog(cluster.address()) as catalog:
            copy_catalog(open_catalog(world / "index"), catalog, Placement(shards=3, replicas=2))
        losses = Losses(cluster, monkeypatch)
        with losses.before(6, 14, 22):
            outcome = place.train("run", ["--pairs.patience_s=60"], index=cluster.address())
        losses.await_return()
    assert outcome.finished
    assert place.losses("run") == place.losses("undisturbed")

"""Which version is current: published, rolled back, and both while somebody builds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, open_catalog
from tests.index.builders import ChildProcess


def test_rolling_back_until_none_is_left(published: Catalog) -> None:
    assert published.publications() == ["v0003", "v0002", "v0001"]
    assert published.rollback() == "v0002"
    assert published.rollback() == "v0001"
    with published.current() as version:
        assert version.info.name == "v0001"
    with pytest.raises(
        HandsimError, match=r"v0001 is the only version of .*index list.* `handsim index publish`"
    ):
        published.rollback()
    assert published.current_name() == "v0001"


def test_rolling_back_passes_over_versions_that_are_gone(published: Catalog) -> None:
    assert published.remove("v0002")
    assert published.rollback() == "v0001"
    assert published.publications() == ["v0001"]


def test_after_pruning_there_is_nothing_to_go_back_to(published: Catalog) -> None:
    assert published.prune(1) == (["v0001", "v0002"], [])
    with pytest.raises(HandsimError, match="v0003 is the only version"):
        published.rollback()


def test_publishing_an_earlier_one_again(published: Catalog) -> None:
    published.publish("v0001")
    assert published.publications() == ["v0001", "v0003", "v0002"]
    published.publish("v0001")
    assert published.publications() == ["v0001", "v0003", "v0002"], "twice is once"
    assert published.rollback() == "v0003"


def test_what_was_rolled_back_is_not_gone_back_to(
    published: Catalog, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    published.rollback()
    assert published.build(small_pool, small_embedding).name == "v0004"
    assert published.publications() == ["v0004", "v0002", "v0001"]
    assert published.rollback() == "v0002"


def test_nothing_to_roll_back(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"there is no index at .* yet; `handsim index build`"):
        open_catalog(tmp_path / "index").rollback()


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


def test_the_pointer_moves_while_another_process_builds(
    published: Catalog, small_pool: Pool, small_embedding: PoseEmbedding, start: Callable[..., ChildProcess]
) -> None:
    assert published.active_builder() is None
    builder = start(BUILDER, small_pool.path, published.address)
    assert builder.read_line() == "building"
    who = rf"process {builder.pid} on \S+ since \S+"
    assert published.active_builder() is not None
    for refused in (
        lambda: published.build(small_pool, small_embedding),
        lambda: published.drop(),
    ):
        with pytest.raises(HandsimError, match=f"is being built by {who}; wait for it to end, or stop it"):
            refused()
    published.publish("v0001")
    assert published.rollback() == "v0003"
    assert published.prune(1) == (["v0001", "v0002"], [])
    assert [info.name for info in published.versions()] == ["v0003"]
    builder.proceed()
    assert builder.read_line() == "v0004"
    assert builder.wait() == 0
    assert published.active_builder() is None
    assert published.publications() == ["v0004", "v0003"]
    with published.current() as version:
        assert version.search_hands(small_pool.hand_ids[:3], 2).is_found.all()

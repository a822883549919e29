"""Versions pruned and dropped: never the current one, never one that somebody reads."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, open_catalog
from tests.index.builders import ChildProcess


def names(catalog: Catalog) -> list[str]:
    return [info.name for info in catalog.versions()]


def entries(catalog: Catalog) -> set[str]:
    return {name for name in os.listdir(catalog.address) if "lock" not in name}


READER = """
import sys
from index import open_catalog
with open_catalog(sys.argv[1]).open(sys.argv[2]) as version:
    print("open", flush=True)
    sys.stdin.readline()
    hand = next(version.scroll(batch=1)).hand_ids
    print(version.search_hands(hand, 2).is_found.sum(), flush=True)
"""


def test_pruning_leaves_what_another_process_reads(
    published: Catalog, start: Callable[..., ChildProcess]
) -> None:
    reader = start(READER, published.address, "v0001")
    assert reader.read_line() == "open"
    assert published.prune(1) == (["v0002"], ["v0001"])
    assert not published.remove("v0001")
    with pytest.raises(HandsimError, match=f"a reader has v0001 of {published.address} open; end it first"):
        published.drop()
    assert (names(published), published.current_name()) == (["v0001", "v0003"], "v0003"), "all as before"
    reader.proceed()
    assert reader.read_line() == "2"
    assert reader.wait() == 0
    assert published.prune(1) == (["v0001"], [])
    assert entries(published) == {"catalog.json", "current", "v0003"}


def test_a_reader_that_was_killed_holds_nothing(
    published: Catalog, start: Callable[..., ChildProcess]
) -> None:
    reader = start(READER, published.address, "v0001")
    assert reader.read_line() == "open"
    reader.kill()
    assert published.prune(1) == (["v0001", "v0002"], [])


def test_pruning_keeps_the_newest_and_the_current_one(published: Catalog) -> None:
    assert published.prune(5) == ([], [])
    published.publish("v0001")
    assert published.prune(1) == (["v0002"], [])
    assert names(published) == ["v0001", "v0003"]
    for keep in (0, -1):
        with pytest.raises(HandsimError, match=f"^keep is {keep}; keep at least 1 version"):
            published.prune(keep)


def test_pruning_clears_up_behind_the_killed(published: Catalog) -> None:
    root = Path(published.address)
    (root / ".building" / "shard").mkdir(parents=True)
    (root / ".removed-v0009").mkdir()
    (root / ".current.123").write_text("v0")
    (root / ".catalog.json.123").write_text("{")
    published.prune(3)
    assert entries(published) == {"catalog.json", "current", "v0001", "v0002", "v0003"}


def test_what_cannot_be_removed(published: Catalog) -> None:
    with pytest.raises(HandsimError, match=r"^v0003 is the current version; publish another one first"):
        published.remove("v0003")
    with pytest.raises(NotThereError, match=r"no version 'v0009' \(it has: v0001, v0002, v0003\)"):
        published.remove("v0009")
    with published.open("v0002"):
        assert not published.remove("v0002")
    assert published.remove("v0002")
    assert names(published) == ["v0001", "v0003"]


def test_a_version_that_lost_its_record_can_be_removed(published: Catalog) -> None:
    (Path(published.address) / "v0001" / "version.json").unlink()
    assert published.remove("v0001")
    assert names(published) == ["v0002", "v0003"]


def test_dropping_everything(published: Catalog, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    published.drop()
    assert not Path(published.address).exists()
    published.drop()
    assert names(published) == []
    with pytest.raises(NotThereError, match="`handsim index build` makes one"):
        published.current()
    assert published.build(small_pool, small_embedding).name == "v0001"


def test_numbers_are_never_used_twice(
    published: Catalog, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    published.publish("v0001")
    published.prune(1)
    assert published.remove("v0003")
    assert names(published) == ["v0001"]
    assert published.build(small_pool, small_embedding, publish=False).name == "v0004"
    assert published.remove("v0004")
    assert published.build(small_pool, small_embedding).name == "v0005"


def test_a_first_build_killed_at_once_leaves_no_stranger(
    tmp_path: Path, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / ".catalog.json.123").write_text("{")
    (tmp_path / "index" / ".pointer-lock").touch()
    catalog = open_catalog(tmp_path / "index")
    assert catalog.build(small_pool, small_embedding).is_current
    assert entries(catalog) == {"catalog.json", "current", "v0001"}

"""From settings to batches, and all that can be wrong between settings, pool and index."""

import multiprocessing
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoolWriter, PoseEmbedding
from handsim.errors import NotThereError
from handsim.lists import HandLists
from index import Catalog, MiningPolicy, mine
from index.mining import write_pairs
from tests.handsim.builders import make_hand, make_partial_hand
from tests.index.builders import group_hands
from tests.training.pairs.builders import SMALL_GRAPH, VIDEOS, contents, write_pool
from training.pairs import PairSettings
from training.pairs.loader import PairLoader
from training.pairs.open_pairs import open_pairs
from training.pairs.settings import Positives

pytestmark = pytest.mark.slow

SETTINGS = PairSettings(policy=MiningPolicy(top_k=3))


def opened(
    settings: PairSettings, pool: Pool, catalog: Catalog | None, batch_size: int = 16, **others: Any
) -> PairLoader:
    return open_pairs(settings, pool, catalog, batch_size=batch_size, seed=1, **others)


def positives(loader: PairLoader) -> list[list[int]]:
    with loader:
        return [batch.hand_ids[batch.positives.numpy()].tolist() for batch in loader.epoch(0)]


def test_live_batches_are_the_same_here_and_from_other_processes(built: Catalog, pool: Pool) -> None:
    events: list[str] = []
    with opened(SETTINGS, pool, built, on_event=events.append) as here:
        assert here.version is not None
        assert (here.version.name, here.version.points) == ("v0001", 120)
        expected = [contents(batch) for epoch in (0, 1) for batch in here.epoch(epoch)]
    with opened(SETTINGS, pool, built, workers=1) as elsewhere:
        assert len(multiprocessing.active_children()) == 1, "the process that queries the index"
        first = elsewhere.anchors.batches_an_epoch - 1
        assert [contents(batch) for batch in elsewhere.epoch(0, first)] == expected[first : first + 1]
        assert [contents(batch) for batch in elsewhere.epoch(1)] == expected[first + 1 :]
    assert not multiprocessing.active_children()
    assert events == []


def test_new_versions_are_reported_unless_one_is_pinned(
    catalog: Catalog, pool: Pool, embedding: PoseEmbedding
) -> None:
    for _ in range(2):
        catalog.build(pool, embedding, SMALL_GRAPH)
    events: list[str] = []

    def versions(pin: str | None) -> set[str | None]:
        settings = PairSettings(pin_version=pin, prefetch=1)
        catalog.publish("v0001")
        with opened(settings, pool, catalog, batch_size=12, on_event=events.append) as loader:
            first = {next(loader.epoch(0)).version}
            catalog.publish("v0002")
            return first | {batch.version for batch in loader.epoch(0, first=1)}

    assert versions("v0002") == {"v0002"}
    assert versions("current") == {"v0001"}
    assert events == []
    assert versions(None) == {"v0001", "v0002"}
    assert events == ["pairs come from index version v0002 now, until here from v0001"]


def test_hands_of_unknown_side_are_left_out_and_those_with_unlabelled_joints_although_the_index_has_them(
    catalog: Catalog, tmp_path: Path
) -> None:
    whole = write_pool(tmp_path / "pool", videos=3)
    with PoolWriter(whole.path, crop_size_px=whole.crop_size_px) as writer:
        writer.add(make_partial_hand(1, [4]), whole.crop_jpeg(int(whole.hand_ids[0])))
        writer.add(make_hand(2, side="unknown"), whole.crop_jpeg(int(whole.hand_ids[0])))
    pool = Pool.open(whole.path)
    catalog.build(pool, PoseEmbedding.fit(pool, unlabelled="complete"), SMALL_GRAPH)
    assert catalog.current_info().points == 31
    events: list[str] = []
    with opened(SETTINGS, pool, catalog, on_event=events.append) as loader:
        assert loader.anchors.hand_ids.tolist() == sorted(whole.hand_ids.tolist())
        for batch in loader.epoch(0):
            assert batch.keypoints.isfinite().all()
    assert events[0] == "1 of the pool's 32 hands have unlabelled joints, and are left out"
    assert events[1].startswith("1 hand of unknown side is left out; `handsim pool relabel")
    assert len(events) == 2


@pytest.mark.parametrize("positives", ["neighbours", "own", "temporal"])
@pytest.mark.parametrize("left", [24, 90])  # less and more than a quarter of the index
def test_pairs_keep_to_the_lists_of_the_home(
    built: Catalog, pool: Pool, tmp_path: Path, positives: Positives, left: int
) -> None:
    """Of 120 hands some are included, and one in six of those excluded: as anchors and as anything else."""
    lists = HandLists(tmp_path / "lists")
    lists.create("in", [1, *pool.hand_ids[:left].tolist()])
    lists.create("out", pool.hand_ids[::6])
    events: list[str] = []
    settings = PairSettings(positives, include_list="in", exclude_list="out", prefetch=1)
    if positives == "neighbours":
        settings = replace(settings, negatives_per_anchor=1, negative_min_distance=0.1, negative_top_k=2)
    expected = {*pool.hand_ids[:left].tolist()} - {*pool.hand_ids[::6].tolist()}
    with opened(settings, pool, built, 6, lists=lists, on_event=events.append) as loader:
        assert {*loader.anchors.hand_ids.tolist()} == expected
        batches = list(loader.epoch(0))
    assert {hand for batch in batches for hand in batch.hand_ids.tolist()} <= expected
    assert sum(batch.without_positive for batch in batches) == 0
    assert events == [
        f"1 of {left + 1} hands of list in are not in the pool",
        f"training in list in and without list out: {len(expected)} of the pool's 120 hands",
    ]


def test_a_list_that_cannot_be_trained_on_is_refused(built: Catalog, pool: Pool, tmp_path: Path) -> None:
    lists = HandLists(tmp_path / "lists")
    lists.create("all", pool.hand_ids)
    for settings, message in (
        (PairSettings(include_list="some"), "no list 'some'; there are all"),
        (PairSettings(exclude_list="all"), "no hand of the pool .* is without list all; name another list"),
    ):
        with pytest.raises(HandsimError, match=message):
            opened(settings, pool, built, lists=lists)


def test_hands_that_the_index_lacks_or_that_have_no_picture_are_no_anchors(
    catalog: Catalog, embedding: PoseEmbedding, tmp_path: Path
) -> None:
    write_pool(tmp_path / "pool", videos=3)
    catalog.build(write_pool(tmp_path / "pool", 2, 3, pictures=False), embedding, SMALL_GRAPH)
    pool = write_pool(tmp_path / "pool", 1, 5)
    events: list[str] = []
    with opened(SETTINGS, pool, catalog, on_event=events.append) as loader:
        assert loader.anchors.hand_ids.tolist() == sorted(pool.hand_ids[:30].tolist())
    assert events == [
        "30 of the pool's 60 hands are no anchors: index version v0001 lacks 10, and 20 have no picture",
        "only 4 of 16 anchors have a positive: the others found no hand of another video, with a picture; "
        "ingest more, or `handsim index add`",
    ]


def test_pairs_are_not_opened_where_no_anchor_has_a_positive(
    catalog: Catalog, embedding: PoseEmbedding, tmp_path: Path
) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    catalog.build(pool, embedding, SMALL_GRAPH)
    for workers in (0, 1):
        with pytest.raises(HandsimError, match=r"^0 of 10 anchors have a positive: all are of one video"):
            opened(SETTINGS, pool, catalog, batch_size=5, workers=workers)
    assert not multiprocessing.active_children()
    with pytest.raises(HandsimError, match=r"no other frame of their video within window_frames 1 has"):
        opened(PairSettings(positives="temporal", window_frames=1), pool, None, batch_size=5)


def test_duplicates_in_the_pool_are_no_pairs_and_are_counted(
    built: Catalog, pool: Pool, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(pool.path, tmp_path / "pool"))
    pool = Pool.open(copied)
    with opened(SETTINGS, pool, built) as loader:
        batch = next(loader.epoch(0))
    anchors, others = (batch.hand_ids[rows.numpy()].tolist() for rows in (batch.anchors, batch.positives))
    pairs = {(one, two) for one, two in zip(anchors, others, strict=True) if one != two}
    first = min(pairs)
    group_hands(first).save(copied)
    events: list[str] = []
    with opened(SETTINGS, pool, built, workers=1, on_event=events.append) as loader:
        batch = next(loader.epoch(0))
    assert first not in zip(
        *(batch.hand_ids[rows.numpy()].tolist() for rows in (batch.anchors, batch.positives)), strict=True
    )
    assert batch.left_out >= 1
    assert "run `handsim pool duplicates` again" in events[0], "they are of another pool's hands"


def test_three_kinds_of_pairs_need_no_index(pool: Pool, half: Pool, built: Catalog, tmp_path: Path) -> None:
    own = positives(opened(PairSettings(positives="own"), pool, None))
    temporal = positives(opened(PairSettings(positives="temporal"), pool, None))
    with built.current() as version:
        write_pairs(tmp_path / "pairs.parquet", mine(version, half.hand_ids), version.info)
    table = PairSettings(table=str(tmp_path / "pairs.parquet"))
    mined = positives(opened(table, pool, None))
    assert own != temporal != mined != own
    with opened(table, pool, None) as loader:
        assert loader.version is None
        batch = next(loader.epoch(0))
        assert batch.version == "v0001"
        assert (
            batch.without_positive
            == (~np.isin(batch.hand_ids[batch.anchors.numpy()], half.hand_ids)).sum()
            > 0
        )


def test_what_does_not_go_together_is_named(
    catalog: Catalog, built: Catalog, pool: Pool, half: Pool, tmp_path: Path
) -> None:
    bare = write_pool(tmp_path / "bare", videos=2, pictures=False)
    other = write_pool(tmp_path / "other", videos=2, first_video=VIDEOS)
    own, unknown = PairSettings(positives="own"), PairSettings(pin_version="v0007")
    greedy = PairSettings(negatives_per_anchor=3, negative_min_distance=1.0)
    cases: list[tuple[PairSettings, Pool, Catalog | None, int, type[HandsimError], str]] = [
        (SETTINGS, pool, None, 16, HandsimError, "none is given; `handsim index build` makes one"),
        (SETTINGS, pool, catalog, 16, NotThereError, "there is no index at"),
        (SETTINGS, half, built, 16, HandsimError, "60 of the 120 hands of index version v0001 are not in"),
        (SETTINGS, other, built, 16, HandsimError, "120 of the 120 hands of index version v0001 are not in"),
        (SETTINGS, pool, built, 121, HandsimError, "121 anchors takes 121 hands, and there are 120"),
        (unknown, pool, built, 16, NotThereError, "v0007"),
        (greedy, pool, built, 30, HandsimError, "3 negatives each takes 150 hands, and the pool has 120"),
        (own, bare, None, 16, HandsimError, "a batch of 16 anchors takes 16 hands, and there are 0"),
    ]
    for settings, hands, index, batch_size, kind, message in cases:
        with pytest.raises(kind, match=rf"^[^\n]*{re.escape(message)}[^\n]*$"):
            opened(settings, hands, index, batch_size)


BAND: dict[str, Any] = {"negatives_per_anchor": 2, "negative_min_distance": 0.5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"positives": "neighbors"}, "positives is 'neighbors'; it is one of neighbours, temporal, own"),
        ({"ef": 0}, "ef is 0; it is at least 1"),
        ({"window_frames": 0}, "window_frames is 0; it is at least 1"),
        ({"negatives_per_anchor": -1}, "negatives_per_anchor is -1; it is at least 0"),
        ({"prefetch": 0}, "prefetch is 0; it is at least 1"),
        ({"patience_s": -1.0}, "patience_s is -1.0"),
        ({"patience_s": float("inf")}, "patience_s is inf"),
        ({"negatives_per_anchor": 1}, "negative_min_distance is 0.0; with negatives it is above 0"),
        ({**BAND, "negative_min_distance": float("nan")}, "negative_min_distance is nan"),
        ({**BAND, "negative_max_distance": 0.5}, "negative_max_distance is 0.5; the band begins at 0.5"),
        ({**BAND, "negative_top_k": 1}, "negative_top_k is 1; 2 negatives are drawn among at least as many"),
        ({"positives": "own", "pin_version": "v0001"}, "pin_version is 'v0001', but positives is 'own'"),
        ({"positives": "temporal", "table": "t.parquet"}, "table is 't.parquet', but positives is 'temp"),
        ({"positives": "own", **BAND}, "negatives_per_anchor is 2, but positives is 'own'"),
        ({"table": "t.parquet", **BAND}, "negatives_per_anchor is 2, but a table of mined pairs needs no"),
        ({"table": "t.parquet", "pin_version": "current"}, "pin_version is 'current', but a table"),
    ],
)
def test_settings_that_cannot_be_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=rf"^{re.escape(message)}[^\n]*$"):
        PairSettings(**values)


def test_settings_that_go_together_are_accepted() -> None:
    assert PairSettings() == PairSettings(positives="neighbours", policy=MiningPolicy())
    PairSettings(**BAND, negative_max_distance=0.6, pin_version="current", patience_s=0.0)
    PairSettings(table="t.parquet", policy=MiningPolicy(top_k=3))
    PairSettings(positives="temporal", window_frames=1)

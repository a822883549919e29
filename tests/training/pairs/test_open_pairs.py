"""From settings to batches, and all that can be wrong between settings, pool and index."""

import multiprocessing
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, ExactIndex, MiningPolicy, mine
from index.mining import write_pairs
from tests.training.pairs.builders import SMALL_GRAPH, VIDEOS, write_pool
from training.pairs import PairSettings
from training.pairs.loader import PairLoader
from training.pairs.open_pairs import check_pool_matches_index, open_pairs

SETTINGS = PairSettings(policy=MiningPolicy(top_k=3))


def opened(
    settings: PairSettings, pool: Pool, catalog: Catalog | None, batch_size: int = 16, **others: Any
) -> PairLoader:
    return open_pairs(settings, pool, catalog, batch_size=batch_size, seed=1, **others)


def positives(loader: PairLoader) -> list[list[int]]:
    with loader:
        return [batch.hand_ids[batch.positives.numpy()].tolist() for batch in loader.epoch(0)]


def test_live_pairs_are_the_same_here_and_from_another_process(built: Catalog, pool: Pool) -> None:
    events: list[str] = []
    loader = opened(SETTINGS, pool, built, on_event=events.append)
    assert loader.version is not None
    assert (loader.version.name, loader.version.points) == ("v0001", 120)
    here = positives(loader)
    with opened(SETTINGS, pool, built, workers=1) as elsewhere:
        assert len(multiprocessing.active_children()) == 1, "the process that queries the index"
        batch = next(elsewhere.epoch(0, first=2))
        assert batch.hand_ids[batch.positives.numpy()].tolist() == here[2]
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
        with opened(settings, pool, catalog, batch_size=4, on_event=events.append) as loader:
            first = {next(loader.epoch(0)).version}
            catalog.publish("v0002")
            return first | {batch.version for batch in loader.epoch(0, first=1)}

    assert versions("v0002") == {"v0002"}
    assert versions("current") == {"v0001"}
    assert events == []
    assert versions(None) == {"v0001", "v0002"}
    assert events == ["pairs come from index version v0002 now, until here from v0001"]


def test_hands_that_are_no_anchors_are_reported(
    catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding
) -> None:
    catalog.build(half, embedding, SMALL_GRAPH)
    events: list[str] = []
    with opened(SETTINGS, pool, catalog, on_event=events.append) as loader:
        assert loader.anchors.tolist() == sorted(half.hand_ids.tolist())
    assert events == [
        "60 of the pool's 120 hands are no anchors: index version v0001 lacks 60, and 0 have no picture"
    ]


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
    own, unknown = PairSettings(positives="own"), PairSettings(pin_version="v0007")
    greedy = PairSettings(negatives_per_anchor=3, negative_min_distance=1.0)
    cases: list[tuple[PairSettings, Pool, Catalog | None, int, type[HandsimError], str]] = [
        (SETTINGS, pool, None, 16, HandsimError, "none is given; `handsim index build` makes one"),
        (SETTINGS, pool, catalog, 16, NotThereError, "there is no index at"),
        (SETTINGS, half, built, 16, HandsimError, "60 of the 120 hands of index version v0001 are not in"),
        (SETTINGS, pool, built, 121, HandsimError, "121 anchors takes 121 hands, and there are 120"),
        (unknown, pool, built, 16, NotThereError, "v0007"),
        (greedy, pool, built, 30, HandsimError, "3 negatives each takes 150 hands, and the pool has 120"),
        (own, bare, None, 16, HandsimError, "a batch of 16 anchors takes 16 hands, and there are 0"),
    ]
    for settings, hands, index, batch_size, kind, message in cases:
        with pytest.raises(kind, match=rf"^[^\n]*{re.escape(message)}[^\n]*$"):
            opened(settings, hands, index, batch_size)


def test_the_index_of_a_pool_matches_it(pool: Pool, exact: ExactIndex) -> None:
    match = check_pool_matches_index(pool, exact)
    assert match.anchors.tolist() == sorted(pool.hand_ids.tolist())
    assert (match.not_in_index, match.without_crop) == (0, 0)


def test_a_pool_may_have_grown_since_its_index_was_built(
    pool: Pool, half: Pool, embedding: PoseEmbedding
) -> None:
    match = check_pool_matches_index(pool, ExactIndex(half, embedding))
    assert match.anchors.tolist() == sorted(half.hand_ids.tolist())
    assert (match.not_in_index, match.without_crop) == (60, 0)


def test_hands_without_a_crop_are_no_anchors(tmp_path: Path, embedding: PoseEmbedding) -> None:
    write_pool(tmp_path / "pool", videos=3)
    mixed = write_pool(tmp_path / "pool", videos=2, first_video=3, pictures=False)
    match = check_pool_matches_index(mixed, ExactIndex(mixed, embedding))
    assert match.anchors.tolist() == sorted(mixed.hand_ids[:30].tolist())
    assert (match.not_in_index, match.without_crop) == (0, 20)


def test_the_index_of_another_pool_is_refused(
    tmp_path: Path, half: Pool, exact: ExactIndex, embedding: PoseEmbedding
) -> None:
    message = (
        f"60 of the 120 hands of index version exact are not in the pool {half.path}; `handsim index build`"
    )
    with pytest.raises(HandsimError, match=rf"^{re.escape(message)}[^\n]*$"):
        check_pool_matches_index(half, exact)
    other = write_pool(tmp_path / "other", videos=2, first_video=VIDEOS)
    with pytest.raises(HandsimError, match=r"^20 of the 20 hands of index version exact"):
        check_pool_matches_index(half, ExactIndex(other, embedding))

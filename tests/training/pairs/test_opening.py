"""From settings to batches, with all that can be wrong between settings, pool and index."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, MiningPolicy, mine
from index.mining import write_pairs
from tests.training.pairs.conftest import SMALL_GRAPH, write_pool
from training.pairs import PairSettings
from training.pairs.loader import PairLoader
from training.pairs.open_pairs import open_pairs

SETTINGS = PairSettings(policy=MiningPolicy(top_k=3))


def opened(
    settings: PairSettings, pool: Pool, catalog: Catalog | None, batch_size: int = 16, **others: Any
) -> PairLoader:
    return open_pairs(settings, pool, catalog, batch_size=batch_size, seed=1, **others)


def positives(loader: PairLoader) -> list[list[int]]:
    with loader:
        return [batch.hand_ids[batch.positives.numpy()].tolist() for batch in loader.epoch(0)]


def test_live_pairs_here_and_from_another_process(built: Catalog, pool: Pool) -> None:
    told: list[str] = []
    loader = opened(SETTINGS, pool, built, on_event=told.append)
    assert loader.version is not None
    assert (loader.version.name, loader.version.points) == ("v0001", 120)
    here = positives(loader)
    with opened(SETTINGS, pool, built, workers=1) as elsewhere:
        names = {process.name for process in multiprocessing.active_children()}
        assert "handsim-pairs" in names
        batch = next(elsewhere.epoch(0, first=2))
        assert batch.hand_ids[batch.positives.numpy()].tolist() == here[2]
    assert not multiprocessing.active_children()
    assert told == []


def test_new_versions_are_told_and_pins_hold(catalog: Catalog, pool: Pool, embedding: PoseEmbedding) -> None:
    for _ in range(2):
        catalog.build(pool, embedding, SMALL_GRAPH)
    told: list[str] = []

    def versions(pin: str | None) -> set[str | None]:
        settings = PairSettings(pin_version=pin, prefetch=1)
        catalog.publish("v0001")
        with opened(settings, pool, catalog, batch_size=4, on_event=told.append) as loader:
            first = {next(loader.epoch(0)).version}
            catalog.publish("v0002")
            return first | {batch.version for batch in loader.epoch(0, first=1)}

    assert versions("v0002") == {"v0002"}
    assert versions("current") == {"v0001"}
    assert told == []
    assert versions(None) == {"v0001", "v0002"}
    assert told == ["pairs come from index version v0002 now, until here from v0001"]


def test_hands_left_out_are_told(catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding) -> None:
    catalog.build(half, embedding, SMALL_GRAPH)
    told: list[str] = []
    with opened(SETTINGS, pool, catalog, on_event=told.append) as loader:
        assert loader.anchors.tolist() == sorted(half.hand_ids.tolist())
    assert told == [
        "60 of the pool's 120 hands are no anchors: index version v0001 lacks 60, and 0 have no picture"
    ]


def test_without_an_index(pool: Pool, half: Pool, built: Catalog, tmp_path: Path) -> None:
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


def test_what_does_not_go_together(
    catalog: Catalog, built: Catalog, pool: Pool, half: Pool, tmp_path: Path
) -> None:
    def complaint(settings: PairSettings, pool: Pool, catalog: Catalog | None, **others: Any) -> str:
        with pytest.raises(HandsimError) as told:
            opened(settings, pool, catalog, **others)
        assert "\n" not in str(told.value)
        return str(told.value)

    assert "none is given; `handsim index build` makes one" in complaint(SETTINGS, pool, None)
    assert "there is no index at" in complaint(SETTINGS, pool, catalog)
    assert "60 of the 120 hands of index version v0001 are not in the pool" in complaint(
        SETTINGS, half, built
    )
    assert "a batch of 121 anchors takes 121 hands, and there are 120" in complaint(
        SETTINGS, pool, built, batch_size=121
    )
    unknown = PairSettings(pin_version="v0007")
    with pytest.raises(NotThereError, match="v0007"):
        opened(unknown, pool, built)
    greedy = PairSettings(negatives_per_anchor=3, negative_min_distance=1.0)
    assert (
        "a batch of 30 anchors with positives and 3 negatives each takes 150 hands, and the pool has 120"
        in (complaint(greedy, pool, built, batch_size=30))
    )
    bare = write_pool(tmp_path / "bare", videos=2, pictures=False)
    assert "a batch of 16 anchors takes 16 hands, and there are 0" in complaint(
        PairSettings(positives="own"), bare, None
    )

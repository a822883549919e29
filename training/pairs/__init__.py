"""The pairs that contrastive pre-training learns from, read from the live index while it trains.

    with open_pairs(settings, pool, catalog, batch_size=64, seed=1, workers=8) as loader:
        for batch in loader.epoch(0):
            batch = batch.to(device, non_blocking=True)

From anchors to batches, each step on its own thread and ahead of the next one:

    AnchorBatches -> a PairSource (LiveNeighbors, TemporalNeighbors, MinedTable, SelfPairs)
                  -> crops, read and decoded by worker processes -> PairBatch

This package exports what needs no torch, because the process that queries the index imports it. The rest is
in `training.pairs.open_pairs`, `training.pairs.loader` and `training.pairs.decoding`.
"""

from training.pairs.live import LiveNeighbors, PinnedVersion, QueryProcess, RetryingPairSource
from training.pairs.settings import PairSettings
from training.pairs.sources import HandSet, MinedTable, PairDraw, PairSource, SelfPairs, TemporalNeighbors

__all__ = [
    "HandSet",
    "LiveNeighbors",
    "MinedTable",
    "PairDraw",
    "PairSettings",
    "PairSource",
    "PinnedVersion",
    "QueryProcess",
    "RetryingPairSource",
    "SelfPairs",
    "TemporalNeighbors",
]

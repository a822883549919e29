"""The pairs that contrastive pre-training learns from, asked of the live index while it trains.

    with open_pairs(settings, pool, catalog, batch_size=64, seed=1, workers=8) as loader:
        for batch in loader.epoch(0):
            batch = batch.to(device, non_blocking=True)

From anchors to batches, each step on a thread of its own and ahead of the next:

    AnchorBatches -> a source of pairs (LiveNeighbors, TemporalNeighbors, MinedTable, OwnViews)
                  -> crops, read and decoded by worker processes -> PairBatch
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.pairs.decoding import PairBatch, Waits
    from training.pairs.live import LiveNeighbors, Patient, PinnedVersion, QueryProcess
    from training.pairs.loader import AnchorBatches, PairLoader
    from training.pairs.open_pairs import Belonging, check_belongs, open_pairs
    from training.pairs.settings import PairSettings
    from training.pairs.sources import (
        DrawnPairs,
        HandSet,
        MinedTable,
        OwnViews,
        PairSource,
        TemporalNeighbors,
    )

__all__ = [
    "AnchorBatches",
    "Belonging",
    "DrawnPairs",
    "HandSet",
    "LiveNeighbors",
    "MinedTable",
    "OwnViews",
    "PairBatch",
    "PairLoader",
    "PairSettings",
    "PairSource",
    "Patient",
    "PinnedVersion",
    "QueryProcess",
    "TemporalNeighbors",
    "Waits",
    "check_belongs",
    "open_pairs",
]

# Loaded when they are asked for: the process that asks the index needs no torch.
_HOMES = {
    "AnchorBatches": "training.pairs.loader",
    "Belonging": "training.pairs.open_pairs",
    "DrawnPairs": "training.pairs.sources",
    "HandSet": "training.pairs.sources",
    "LiveNeighbors": "training.pairs.live",
    "MinedTable": "training.pairs.sources",
    "OwnViews": "training.pairs.sources",
    "PairBatch": "training.pairs.decoding",
    "PairLoader": "training.pairs.loader",
    "PairSettings": "training.pairs.settings",
    "PairSource": "training.pairs.sources",
    "Patient": "training.pairs.live",
    "PinnedVersion": "training.pairs.live",
    "QueryProcess": "training.pairs.live",
    "TemporalNeighbors": "training.pairs.sources",
    "Waits": "training.pairs.decoding",
    "check_belongs": "training.pairs.open_pairs",
    "open_pairs": "training.pairs.open_pairs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'training.pairs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

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
    from training.pairs.anchors import AnchorBatches
    from training.pairs.batch import PairBatch, Waits
    from training.pairs.belonging import Belonging, check_belongs
    from training.pairs.drawn import DrawnPairs, PairSource
    from training.pairs.hand_set import HandSet
    from training.pairs.live import LiveNeighbors, PinnedVersion
    from training.pairs.loader import PairLoader
    from training.pairs.opening import open_pairs
    from training.pairs.own import OwnViews
    from training.pairs.patience import Patient
    from training.pairs.query_process import QueryProcess
    from training.pairs.settings import PairSettings
    from training.pairs.table import MinedTable
    from training.pairs.temporal import TemporalNeighbors

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
    "AnchorBatches": "training.pairs.anchors",
    "Belonging": "training.pairs.belonging",
    "DrawnPairs": "training.pairs.drawn",
    "HandSet": "training.pairs.hand_set",
    "LiveNeighbors": "training.pairs.live",
    "MinedTable": "training.pairs.table",
    "OwnViews": "training.pairs.own",
    "PairBatch": "training.pairs.batch",
    "PairLoader": "training.pairs.loader",
    "PairSettings": "training.pairs.settings",
    "PairSource": "training.pairs.drawn",
    "Patient": "training.pairs.patience",
    "PinnedVersion": "training.pairs.live",
    "QueryProcess": "training.pairs.query_process",
    "TemporalNeighbors": "training.pairs.temporal",
    "Waits": "training.pairs.batch",
    "check_belongs": "training.pairs.belonging",
    "open_pairs": "training.pairs.opening",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'training.pairs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

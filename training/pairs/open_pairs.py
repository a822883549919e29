"""From settings to batches.

Whether an index and a pool belong together, and which hands pairs can be asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, UnavailableError
from handsim.pool import Pool
from index.catalog import Catalog
from index.info import VersionInfo
from index.live import LiveIndex
from index.version import IndexVersion
from training.pairs.live import LiveNeighbors, PinnedVersion, QueryProcess, RetryingPairSource, read_hand_set
from training.pairs.loader import AnchorBatches, PairLoader
from training.pairs.settings import PairSettings
from training.pairs.sources import HandSet, MinedTable, PairSource, SelfPairs, TemporalNeighbors


@dataclass(frozen=True, eq=False)
class PoolMatch:
    """The hands of a pool that pairs can be asked for."""

    anchors: NDArray[np.uint64]
    """[A] by rising id: those that the index holds and the pool has a picture of."""
    not_in_index: int
    """Hands of the pool that the index lacks: ingested since it was built."""
    without_picture: int
    """Hands of pool and index of which the pool has keypoints alone."""

    @property
    def left_out(self) -> int:
        """Hands of the pool that are no anchors."""
        return self.not_in_index + self.without_picture


def check_pool_matches_index(pool: Pool, version: IndexVersion) -> PoolMatch:
    """See that the pool holds every hand of an index version; raises HandsimError if it does not."""
    indexed = read_hand_set(version)
    held = HandSet(pool.hand_ids)
    missing = int((~held.contains(indexed.hand_ids)).sum())
    if missing:
        raise HandsimError(
            f"{missing:,} of the {len(indexed):,} hands of index version {version.info.name} are not in the "
            f"pool {pool.path}; `handsim index build` makes an index of it, or name the home of its own pool"
        )
    pictured = HandSet.with_crops(pool).contains(indexed.hand_ids)
    return PoolMatch(
        anchors=indexed.hand_ids[pictured],
        not_in_index=len(held) - len(indexed),
        without_picture=int((~pictured).sum()),
    )


OnEvent = Callable[[str], None]
"""Called with a line for people, by whichever thread has something to tell."""


def open_pairs(
    settings: PairSettings,
    pool: Pool,
    catalog: Catalog | None,
    *,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin: bool | None = None,
    on_event: OnEvent = print,
) -> PairLoader:
    """The pairs that settings ask for, of ``batch_size`` anchors on each rank; close it after use.

    The catalog is asked only where pairs are neighbours and no table of them is given; whoever opened it
    closes it, after this. With ``workers``, that many processes decode and another one asks the index; with
    0, all is done here. ``on_event`` hears of new versions, of waiting for the index, and of hands left out.

    Raises HandsimError where settings, pool and index do not go together, where the pool does not make one
    batch, and NotThereError or UnavailableError where there is no index or it is away.
    """
    pictured = HandSet.with_crops(pool)
    version: VersionInfo | None = None
    if settings.positives == "neighbours" and settings.table is None:
        seen = _look_at(settings, pool, catalog)
        hand_ids, version = seen.belonging.anchors, seen.version
        _tell_left_out(seen, pool, on_event)
    else:
        hand_ids = pictured.hand_ids
    anchors = AnchorBatches(hand_ids, batch_size, seed, rank=rank, world_size=world_size)
    _check_room(settings, pictured, batch_size)
    if settings.table is not None:
        source: PairSource = MinedTable(settings.table, pictured)
    elif settings.positives == "temporal":
        source = TemporalNeighbors(pool, settings.window_frames, pictured)
    elif settings.positives == "own":
        source = SelfPairs()
    else:
        source = RetryingPairSource(
            _live(settings, seen, pictured, elsewhere=workers > 0),
            settings.patience_s,
            on_wait=lambda error, waited_s: on_event(_waiting(error, waited_s, settings.patience_s)),
        )
    return PairLoader(
        pool,
        source,
        anchors,
        prefetch=settings.prefetch,
        workers=workers,
        pin=pin,
        version=version,
        on_version=lambda old, new: on_event(
            f"pairs come from index version {new} now, until here from {old}"
        ),
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """The index at the start."""

    catalog: Catalog
    version: VersionInfo
    address: str | None
    """Where another process reaches it, if one can."""
    belonging: PoolMatch


def _look_at(settings: PairSettings, pool: Pool, catalog: Catalog | None) -> _Seen:
    if catalog is None:
        raise HandsimError(
            "neighbours are asked of an index, and none is given; `handsim index build` makes one, or set "
            "pairs.positives to temporal or own"
        )
    name = settings.pin_version
    with catalog.current() if name is None or name == "current" else catalog.open(name) as version:
        return _Seen(catalog, version.info, version.address, check_pool_matches_index(pool, version))


def _live(settings: PairSettings, seen: _Seen, pictured: HandSet, *, elsewhere: bool) -> PairSource:
    pinned = None if settings.pin_version is None else seen.version.name
    if elsewhere and seen.address is not None:
        return QueryProcess(seen.address, pinned, settings, pictured)
    index = LiveIndex(seen.catalog) if pinned is None else PinnedVersion(seen.catalog.open(pinned))
    return LiveNeighbors(index, settings, pictured)


def _check_room(settings: PairSettings, pictured: HandSet, batch_size: int) -> None:
    """See that a batch's negatives can all be different hands."""
    count = settings.negatives_per_anchor
    most = (2 + count) * batch_size
    if count and most > len(pictured):
        raise HandsimError(
            f"a batch of {batch_size:,} anchors with positives and {count} negatives each takes {most:,} "
            f"hands, and the pool has {len(pictured):,}; take a smaller batch or fewer negatives"
        )


def _tell_left_out(seen: _Seen, pool: Pool, on_event: OnEvent) -> None:
    belonging = seen.belonging
    if belonging.left_out:
        on_event(
            f"{belonging.left_out:,} of the pool's {len(pool):,} hands are no anchors: index version "
            f"{seen.version.name} lacks {belonging.not_in_index:,}, and {belonging.without_picture:,} have "
            f"no picture"
        )


def _waiting(error: UnavailableError | None, waited_s: float, patience_s: float) -> str:
    if error is None:
        return f"the index is back after {waited_s:.0f} s"
    return f"waiting for the index, {patience_s:.0f} s at most: {error}"

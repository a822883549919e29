"""From settings to batches: check that settings, pool and index go together, and open the source of pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError, UnavailableError
from handsim.lists import HandLists
from handsim.pool import Pool
from handsim.pool.duplicates import DuplicateGroups
from index.catalog import Catalog
from index.live import LiveIndex
from index.mining import explain_lack, read_hands_of_pool
from index.version import IndexVersion
from training.pairs.live import (
    LiveNeighbors,
    OnWait,
    PinnedVersion,
    QueryProcess,
    RetryingPairSource,
)
from training.pairs.loader import AnchorBatches, PairLoader
from training.pairs.settings import PairSettings
from training.pairs.sources import HandSet, MinedTable, PairSource, SelfPairs, TemporalNeighbors

_PROBE_ANCHORS: Final = 256
"""Anchors that are asked for positives before a run begins, at most."""

OnEvent = Callable[[str], None]
"""Called with a line for people, from any thread."""


@dataclass(frozen=True)
class BegunRun:
    """What a run that is resumed says of its anchors: it goes on with the same, whatever was added since."""

    anchors: str
    """`AnchorBatches.fingerprint`."""
    hands: int
    """Of the pool when the run began. Hands are only ever appended to a pool."""
    versions: tuple[str, ...] = ()
    """The index version that it used last, and the one that it began with."""


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
    begun: BegunRun | None = None,
    with_vectors: bool = False,
    lists: HandLists | None = None,
    on_event: OnEvent = print,
) -> PairLoader:
    """The pairs that settings ask for, of ``batch_size`` anchors on each rank; close it after use.

    The catalog is only used where pairs are neighbours and no table of them is given; it is not closed with
    this, and must stay open as long. With ``workers``, that many processes decode and another one queries the
    index; with 0, all is done here. ``with_vectors`` batches from a live index have the vectors of their
    hands. ``on_event`` is told of new versions, of waiting for the index, and of hands that are left out.
    ``lists`` are those that settings may name. ``begun`` is the run that is resumed: where index versions
    came after it, it stays in its own, or, if that is gone, in the same hands.

    Raises HandsimError where settings, pool and index do not go together, where the pool is too small for
    one batch or none of some anchors has a positive, where the anchors of ``begun`` are not there, and
    NotThereError or UnavailableError where there is no index or it does not answer.
    """
    listed = _read_listed(settings, pool, lists, on_event)
    pool_hands = HandSet.trainable(pool, None if begun is None else begun.hands).intersect(listed)
    if partly := int((pool.has_side & ~pool.is_complete).sum()):
        on_event(f"{partly:,} of the pool's {len(pool):,} hands have unlabelled joints, and are left out")
    if line := pool.describe_unknown_sides():
        on_event(line)
    source: PairSource
    if settings.positives != "neighbours" or settings.table is not None:
        hand_ids, version, address, is_pinned = pool_hands.hand_ids, None, None, False
    else:
        if catalog is None:
            raise HandsimError(
                "neighbours come from an index, and none is given; `handsim index build` makes one, or set "
                "pairs.positives to temporal or own"
            )
        name, is_pinned = settings.pin_version, settings.pin_version is not None
        if begun is not None:
            name, is_pinned = _find_version(settings, catalog, pool, pool_hands, listed, begun, on_event)
        with catalog.current() if name is None or name == "current" else catalog.open(name) as opened:
            version, address = opened.info, opened.address
            hand_ids = _find_anchors(pool, pool_hands, listed, opened, on_event if begun is None else _ignore)
    anchors = AnchorBatches(hand_ids, batch_size, seed, rank=rank, world_size=world_size)
    if begun is not None and anchors.fingerprint != begun.anchors:
        of_lists = "" if listed is None else ", or those of its lists,"
        raise _lost_anchors(begun, [f"the pool's first {begun.hands:,} hands{of_lists} are others now"])
    if catalog is not None and version is not None:
        _check_negatives_fit(settings, pool_hands, batch_size)
        duplicates = _load_duplicates(settings, pool, on_event)
        pinned = version.name if is_pinned else None
        live = _open_live(
            settings,
            catalog,
            pinned,
            address if workers else None,
            pool_hands,
            duplicates,
            with_vectors=with_vectors,
        )
        source = RetryingPairSource(live, settings.patience_s, on_wait=_wait_reporter(settings, on_event))
    elif settings.table is not None:
        source = MinedTable(settings.table, pool_hands)
    elif settings.positives == "temporal":
        source = TemporalNeighbors(pool, settings.window_frames, pool_hands)
    else:
        source = SelfPairs()
    try:
        _check_positives(source, anchors, settings, pool, on_event)
    except BaseException:
        source.close()
        raise
    return PairLoader(
        pool,
        source,
        anchors,
        prefetch=settings.prefetch,
        workers=workers,
        version=version,
        on_version=lambda old, new: on_event(
            f"pairs come from index version {new} now, until here from {old}"
        ),
    )


def _find_version(
    settings: PairSettings,
    catalog: Catalog,
    pool: Pool,
    pool_hands: HandSet,
    listed: HandSet | None,
    begun: BegunRun,
    on_event: OnEvent,
) -> tuple[str, bool]:
    """The index version with the anchors of a run that goes on, and whether it stays in that version.

    The current one where its hands are still the run's, else one that the run used, else the current one
    without what was added. Raises HandsimError where the anchors are in none of them.
    """
    pinned, everything = settings.pin_version, HandSet.trainable(pool).intersect(listed)
    if pinned is not None and pinned != "current":
        return pinned, True
    current = catalog.current_info().name
    tries = [(name, everything) for name in begun.versions]
    if pinned is None:
        tries = [(current, everything), *tries, (current, pool_hands)]
    reasons = []
    for name, hands in tries:
        try:
            with catalog.open(name) as version:
                anchors = _find_anchors(pool, hands, listed, version, _ignore)
        except UnavailableError:
            raise
        except NotThereError:
            reasons.append(f"index version {name} is gone")
            continue
        except HandsimError as error:
            reasons.append(str(error).partition(";")[0])
            continue
        if AnchorBatches(anchors, 1, 0).fingerprint != begun.anchors:
            reasons.append(f"index version {name} has other hands")
            continue
        if pinned is not None or name == current:
            return name, pinned is not None
        on_event(f"index version {current} is current and has other hands; the run goes on in {name}")
        return name, True
    raise _lost_anchors(begun, reasons)


def _ignore(line: str) -> None:
    pass


def _lost_anchors(begun: BegunRun, reasons: list[str]) -> HandsimError:
    return HandsimError(
        f"the anchors that this run began with are not there any more: {', '.join(dict.fromkeys(reasons))}; "
        f"bring them back (`handsim pool restore`, `handsim index restore`), or start a new run, with "
        f"--encoder.init and this one's checkpoint to begin with its weights"
    )


def _read_listed(
    settings: PairSettings, pool: Pool, lists: HandLists | None, on_event: OnEvent
) -> HandSet | None:
    """The hands of the pool that the lists of the settings let through; None where they name no list.

    Raises NotThereError for an unknown list, HandsimError where no hand is left.
    """
    names = (settings.include_list, settings.exclude_list)
    if names == (None, None):
        return None
    if lists is None:
        raise HandsimError("pairs.include_list and pairs.exclude_list are of a home, and none is given")
    listed = pool.hand_ids
    for name, is_included in zip(names, (True, False), strict=True):
        if name is not None:
            hands = lists.read(name).hand_ids
            if absent := int((~np.isin(hands, pool.hand_ids)).sum()):
                on_event(f"{absent:,} of {pluralize(len(hands), 'hand')} of list {name} are not in the pool")
            listed = listed[np.isin(listed, hands) == is_included]
    given = " and ".join(
        f"{verb} list {name}" for verb, name in zip(("in", "without"), names, strict=True) if name is not None
    )
    if not len(listed):
        raise HandsimError(f"no hand of the pool {pool.path} is {given}; name another list")
    on_event(f"training {given}: {len(listed):,} of the pool's {len(pool):,} hands")
    return HandSet(listed)


def _find_anchors(
    pool: Pool, trainable: HandSet, listed: HandSet | None, version: IndexVersion, on_event: OnEvent
) -> NDArray[np.uint64]:
    """The trainable hands of an index version; raises HandsimError if the pool lacks a hand of it."""
    index_hands = read_hands_of_pool(version, pool)
    usable = HandSet(pool.hand_ids[pool.is_usable]).intersect(listed)
    index_hands = index_hands[usable.contains(index_hands)]
    anchors = index_hands[trainable.contains(index_hands)]
    if len(anchors) < len(usable):
        on_event(
            f"{len(usable) - len(anchors):,} of the pool's {len(usable):,} hands are no anchors: index "
            f"version {version.info.name} lacks {len(usable) - len(index_hands):,}, and "
            f"{len(index_hands) - len(anchors):,} have no picture"
        )
    return anchors


def _load_duplicates(settings: PairSettings, pool: Pool, on_event: OnEvent) -> DuplicateGroups | None:
    duplicates = None if settings.policy.keep_duplicates else DuplicateGroups.load(pool.path)
    stale = duplicates and duplicates.describe_staleness(pool)
    if stale:
        on_event(stale)
    return duplicates


def _check_positives(
    source: PairSource, anchors: AnchorBatches, settings: PairSettings, pool: Pool, on_event: OnEvent
) -> None:
    """Raise HandsimError where none of some anchors has a positive; say so where less than half have one.

    The source is asked for the first batches of the first epoch: pairs depend on nothing asked before.
    """
    asked = alone = left_out = 0
    for number in range(anchors.batches_an_epoch):
        draw = source.draw(anchors.batch(0, number), anchors.generator(0, number))
        asked += len(draw.anchors)
        alone += draw.without_positive
        left_out += draw.left_out
        if 2 * alone <= asked:
            return
        if asked >= _PROBE_ANCHORS:
            break
    if settings.positives == "temporal":
        why = (
            f"no other frame of their video within window_frames {settings.window_frames} has that hand; "
            f"take more frames a second (`handsim ingest --fps`), or a larger pairs.window_frames"
        )
    else:
        why = explain_lack(pool, settings.policy, bool(left_out))
    line = f"{asked - alone:,} of {asked:,} anchors have a positive: {why}"
    if alone == asked:
        raise HandsimError(line)
    on_event(f"only {line}")


def _open_live(
    settings: PairSettings,
    catalog: Catalog,
    pinned: str | None,
    address: str | None,
    pool_hands: HandSet,
    duplicates: DuplicateGroups | None,
    *,
    with_vectors: bool,
) -> PairSource:
    """Neighbours from the index: in a process of its own if there is an address, else in this one."""
    if address is not None:
        return QueryProcess(address, pinned, settings, pool_hands, duplicates, with_vectors=with_vectors)
    index = LiveIndex(catalog) if pinned is None else PinnedVersion(catalog.open(pinned))
    return LiveNeighbors(index, settings, pool_hands, duplicates, with_vectors=with_vectors)


def _wait_reporter(settings: PairSettings, on_event: OnEvent) -> OnWait:
    def report(error: UnavailableError | None, waited_s: float) -> None:
        if error is None:
            on_event(f"the index is back after {waited_s:.0f} s")
        else:
            on_event(f"waiting for the index, {settings.patience_s:.0f} s at most: {error}")

    return report


def _check_negatives_fit(settings: PairSettings, pool_hands: HandSet, batch_size: int) -> None:
    """Check that all hands of a batch can be different ones."""
    count = settings.negatives_per_anchor
    hands = (2 + count) * batch_size
    if count and hands > len(pool_hands):
        raise HandsimError(
            f"a batch of {batch_size:,} anchors with positives and {count} negatives each takes {hands:,} "
            f"hands, and the pool has {len(pool_hands):,}; take a smaller batch or fewer negatives"
        )

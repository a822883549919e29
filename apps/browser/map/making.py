"""Making a map of an index version; takes minutes, so that it is a job of its own process."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.placing import Placer, into_unit_square
from apps.browser.map.pose_map import PoseMap
from handsim.pool.categorical import Categorical
from index import IndexVersion, SearchOptions
from index.points import PointBatch

MOST_FITTED: Final = 10_000
"""Hands that the map is fitted to; the others are placed among them."""
MOST_HANDS: Final = 500_000
"""Hands on a map; of a larger index a random part is shown."""
_SEED: Final = 0
_BATCH_BYTES: Final = 2**26
_LARGEST_BATCH: Final = 20_000
_SEARCHED: Final = 2_000
"""Queries at once."""

Flatten = Callable[[NDArray[np.float32]], Placer]


class Progress(Protocol):
    """Who is told how far it is: `apps.browser.jobs.JobReporter`."""

    def phase(self, name: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...


def make_map(
    version: IndexVersion,
    say: Progress,
    *,
    flatten: Flatten = Placer,
    most_hands: int = MOST_HANDS,
    most_fitted: int = MOST_FITTED,
) -> PoseMap:
    """Place a version's hands, and measure how near the nearest hand of another video is.

    At no time are more vectors in memory than those fitted to and one batch.
    """
    rng = np.random.default_rng(_SEED)
    say.phase("Reading the hands")
    hand_ids = _some(_all_ids(version, say), most_hands, rng)
    sample = np.flatnonzero(np.isin(hand_ids, _some(hand_ids, most_fitted, rng)))
    vectors = _vectors(version, hand_ids[sample])
    say.phase(f"Laying out {len(sample):,} hands")
    placer = flatten(vectors)
    places = np.empty((len(hand_ids), 2), dtype=np.float32)
    places[sample] = placer.fitted
    columns = _Columns()
    distances = np.full(len(hand_ids), np.nan, dtype=np.float32)
    say.phase("Placing hands and measuring to their neighbours")
    for rows, batch in _rows_of(version, hand_ids):
        others = ~np.isin(rows, sample)
        if others.any():
            places[rows[others]] = placer.place(batch.vectors[others])
        for start in range(0, len(rows), _SEARCHED):
            part = slice(start, start + _SEARCHED)
            distances[rows[part]] = _to_other_videos(version, batch, part)
            say.progress(int(rows[part][-1]) + 1, len(hand_ids))
        columns.add(batch)
    return PoseMap(
        version.info.name,
        version.info.checksum,
        len(version),
        hand_ids,
        into_unit_square(places),
        distances,
        *columns.joined(),
    )


def _all_ids(version: IndexVersion, say: Progress) -> NDArray[np.uint64]:
    """[N], rising."""
    found, read = [], 0
    for batch in version.scroll(with_payload=False):
        found.append(batch.hand_ids)
        read += len(batch)
        say.progress(read, len(version))
    return np.concatenate(found)


def _some(hand_ids: NDArray[np.uint64], most: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """At most so many of them, rising."""
    if len(hand_ids) <= most:
        return hand_ids
    return np.sort(rng.choice(hand_ids, most, replace=False, shuffle=False))


def _batch(version: IndexVersion) -> int:
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (4 * version.info.dimension)))


def _vectors(version: IndexVersion, hand_ids: NDArray[np.uint64]) -> NDArray[np.float32]:
    """[n, D], a batch at a time, for a look-up takes more memory than what it finds."""
    step = _batch(version)
    return np.concatenate(
        [version.vectors(hand_ids[start : start + step]) for start in range(0, len(hand_ids), step)]
    )


def _rows_of(
    version: IndexVersion, hand_ids: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.intp], PointBatch]]:
    """The chosen hands [N] with all that is known of them, a batch at a time, and their rows."""
    for batch in version.scroll(with_vectors=True, batch=_batch(version)):
        chosen = np.isin(batch.hand_ids, hand_ids)
        if chosen.any():
            kept = batch.take(chosen)
            yield np.searchsorted(hand_ids, kept.hand_ids), kept


def _to_other_videos(version: IndexVersion, batch: PointBatch, part: slice) -> NDArray[np.float32]:
    """[n] distances to the nearest hand of another video; NaN where there is none."""
    videos = [payload["video"] for payload in batch.payloads[part]]
    nearest = version.search(batch.vectors[part], 1, not_videos=videos, options=SearchOptions())
    return np.where(nearest.found[:, 0], nearest.distances[:, 0], np.float32(np.nan))


class _Columns:
    """Source, video and label of the hands, as codes, while they come."""

    def __init__(self) -> None:
        self._known: tuple[dict[str, int], ...] = ({}, {}, {})
        self._codes: tuple[list[NDArray[np.int32]], ...] = ([], [], [])

    def add(self, batch: PointBatch) -> None:
        values = zip(
            *((told["source"], told["video"], told["label"]) for told in batch.payloads), strict=True
        )
        for column, known, codes in zip(values, self._known, self._codes, strict=True):
            found = (-1 if value is None else known.setdefault(value, len(known)) for value in column)
            codes.append(np.fromiter(found, np.int32, len(batch)))

    def joined(self) -> list[Categorical]:
        return [
            Categorical(np.concatenate(codes), tuple(known))
            for known, codes in zip(self._known, self._codes, strict=True)
        ]

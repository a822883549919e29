"""What every source of pairs answers.

Two views of the anchor itself, as in SimCLR (Chen et al., 2020) and PeCLR (Spurr et al., 2021).

Choosing at random among what many queries found, all at once.

A set of hands, asked about many at once.

Pairs that were mined before, by `handsim mine`.

The same hand a moment before or after: the positives of TempCLR (Ziani et al., 3DV 2022).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.pool import Pool
from index.mining import PAIRS_SCHEMA
from index.points import HandColumns


@dataclass(frozen=True, eq=False)
class PairDraw:
    """The pairs of B anchors."""

    anchors: NDArray[np.uint64]
    """[B]."""
    positives: NDArray[np.uint64]
    """[B]; the anchor itself, to be seen in another view, where there was no other."""
    distances: NDArray[np.float32]
    """[B] from anchor to positive, in the index's embedding; NaN where it is not known."""
    negatives: NDArray[np.uint64]
    """[B, n] further hands for the denominators: all different, and none of them an anchor or a positive."""
    version: str | None = None
    """Name of the index version they come from, where they come from one."""
    without_positive: int = 0
    """Anchors that fell back to themselves for want of a positive."""
    not_in_index: int = 0
    """Of those, the ones that the index version does not hold."""
    not_in_pool: int = 0
    """Hands that the index answered and the pool has no picture of; they were left out."""
    random_negatives: int = 0
    """Negatives drawn from all hands, where the band had too few."""


class PairSource(Protocol):
    """Where pairs come from."""

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """The pairs of anchors [B] of the pool: the same ones for the same random numbers and index version.

        Raises UnavailableError where an index is asked that does not answer; asked again, it may.
        """

    def close(self) -> None:
        """Let go of what it holds. Another thread may be drawing: it is not waited for long, and may fail."""


class SelfPairs:
    """A `PairSource` that pairs every hand with itself."""

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """The anchors [B] as their own positives; no anchor counts as one without."""
        return PairDraw(
            anchors=anchors,
            positives=anchors.copy(),
            distances=np.full(len(anchors), np.nan, dtype=np.float32),
            negatives=np.empty((len(anchors), 0), dtype=np.uint64),
        )

    def close(self) -> None:
        """Nothing to let go of."""


def choose_valid(
    valid: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Different places [Q, count] among those where ``valid`` [Q, K] holds, each as likely as the other.

    Also [Q, count] which of them are to be taken: the first ones, as many as are valid. K is at least count.
    """
    keys = np.where(valid, rng.random(valid.shape), np.inf)
    places = np.argsort(keys, axis=1)[:, :count]
    return places, np.take_along_axis(valid, places, axis=1)


class HandSet:
    """Hands by rising id: two million of them take 16 MB."""

    hand_ids: NDArray[np.uint64]
    """[N], rising, each once."""

    def __init__(self, hand_ids: NDArray[np.uint64]) -> None:
        """Of hands [M] in any order."""
        # Ten times as fast as numpy's unique, which hashes.
        rising = np.sort(hand_ids)
        self.hand_ids = rising[np.diff(rising, prepend=rising[:1] + np.uint64(1)) != 0]

    @classmethod
    def with_crops(cls, pool: Pool) -> "HandSet":
        """The hands that a pool has a picture of: no other can be shown to a network."""
        return cls(pool.hand_ids[pool.has_crops])

    def contains(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[...] which of the hands [...] are in it."""
        if not len(self.hand_ids):
            return np.zeros(hand_ids.shape, dtype=np.bool_)
        places = np.minimum(np.searchsorted(self.hand_ids, hand_ids), len(self.hand_ids) - 1)
        return np.asarray(self.hand_ids[places] == hand_ids)

    def __len__(self) -> int:
        return len(self.hand_ids)


_COLUMNS: Final = ("hand_id", "positive_id", "distance")


class MinedTable:
    """A `PairSource` that reads `index.mining`: it trains without an index, on pairs that never change."""

    version: str | None
    """Name of the index version they were mined in, as the file tells it."""
    not_in_pool: int
    """Pairs of the file that are left out, because the pool has no picture of one of their hands."""

    def __init__(self, path: str | Path, pictured: HandSet) -> None:
        """Read all pairs, in memory; ``pictured`` are the pool's hands.

        Raises NotThereError without the file, HandsimError for one of another kind or another pool.
        """
        table = _read(Path(path))
        told = (table.schema.metadata or {}).get(b"index_version")
        self.version = None if told is None else told.decode()
        hands, positives, distances = (table[name].to_numpy() for name in _COLUMNS)
        shown = pictured.contains(hands) & pictured.contains(positives)
        self.not_in_pool = int(len(shown) - shown.sum())
        if not shown.any():
            raise HandsimError(
                f"none of the {len(shown):,} pairs of {path} is of this pool; mine them again, in its index"
            )
        order = np.argsort(hands[shown], kind="stable")
        self._hands, self._positives, self._distances = (
            column[shown][order] for column in (hands, positives, distances)
        )

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """For each anchor [B] one of the positives that were mined for it, each as likely as the other."""
        begin = np.searchsorted(self._hands, anchors, "left")
        count = np.searchsorted(self._hands, anchors, "right") - begin
        alone = count == 0
        rows = begin + rng.integers(np.maximum(count, 1))
        rows[alone] = 0
        return PairDraw(
            anchors=anchors,
            positives=np.where(alone, anchors, self._positives[rows]),
            distances=np.where(alone, np.float32(np.nan), self._distances[rows]),
            negatives=np.empty((len(anchors), 0), dtype=np.uint64),
            version=self.version,
            without_positive=int(alone.sum()),
        )

    def close(self) -> None:
        """Nothing to let go of."""


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise NotThereError(f"there is no table of pairs at {path}; `handsim mine` writes one")
    try:
        with pq.ParquetFile(path, memory_map=True) as parquet:
            known = parquet.schema_arrow
            strange = [
                name
                for name in _COLUMNS
                if name not in known.names or known.field(name).type != PAIRS_SCHEMA.field(name).type
            ]
            if strange:
                raise HandsimError(
                    f"{path} is no table of pairs: it has no column {strange[0]} of "
                    f"{PAIRS_SCHEMA.field(strange[0]).type}; `handsim mine` writes one"
                )
            return parquet.read(columns=list(_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0][:120]
        raise HandsimError(f"{path} is no table of pairs ({why}); `handsim mine` writes one") from error


class TemporalNeighbors:
    """A `PairSource` that needs no index: same video, same side, a few frames apart.

    A frame's other hand is never a positive, be it the other side's or another person's.
    """

    def __init__(self, hands: HandColumns, window_frames: int, pictured: HandSet) -> None:
        """Positives are at most ``window_frames`` frames away, and ``pictured``.

        Raises HandsimError for a window below 1, and for frames too far apart to be frames of a video.
        """
        if window_frames < 1:
            raise HandsimError(f"window_frames is {window_frames}; it is at least 1")
        rows = np.flatnonzero(pictured.contains(hands.hand_ids))
        frames = hands.frames[rows]
        first, last = (int(frames.min()), int(frames.max())) if len(rows) else (0, 0)
        self._window = min(window_frames, last - first)
        # One number tells video, side and frame, in this order: a window about it is a range of numbers.
        span = last - first + self._window + 1
        if span * (2 * len(hands.videos.names) + 1) >= 2**63:
            raise HandsimError(
                f"frames go from {first} to {last}; temporal positives need numbers of frames, not times"
            )
        groups = 2 * hands.videos.codes[rows].astype(np.int64) + hands.is_left[rows]
        places = groups * span + (frames - first)
        order = np.argsort(places, kind="stable")
        self._hand_ids, self._places = hands.hand_ids[rows][order], places[order]
        by_id = np.argsort(self._hand_ids)
        self._sorted_ids, self._place_of_sorted = self._hand_ids[by_id], self._places[by_id]
        self._pictured = pictured

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """A positive for each anchor [B], drawn evenly from its window. Distances are not known."""
        assert self._pictured.contains(anchors).all(), "anchors are hands of the pool, with a picture"
        here = self._place_of_sorted[np.searchsorted(self._sorted_ids, anchors)]
        begin = np.searchsorted(self._places, here - self._window, "left")
        own = np.searchsorted(self._places, here, "left")
        after_own = np.searchsorted(self._places, here, "right")
        end = np.searchsorted(self._places, here + self._window, "right")
        before = own - begin
        count = before + (end - after_own)
        drawn = rng.integers(np.maximum(count, 1))
        chosen = np.where(drawn < before, begin + drawn, after_own + drawn - before)
        alone = count == 0
        chosen[alone] = 0
        return PairDraw(
            anchors=anchors,
            positives=np.where(alone, anchors, self._hand_ids[chosen]),
            distances=np.full(len(anchors), np.nan, dtype=np.float32),
            negatives=np.empty((len(anchors), 0), dtype=np.uint64),
            without_positive=int(alone.sum()),
        )

    def close(self) -> None:
        """Nothing to let go of."""

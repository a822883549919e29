"""Sources of pairs: for each anchor of a batch, the hand that is its positive.

`SelfPairs` pairs a hand with itself, as SimCLR (Chen et al., 2020) and PeCLR (Spurr et al., 2021) do;
`TemporalNeighbors` with the same hand a moment before or after, as TempCLR (Ziani et al., 3DV 2022) does;
`MinedTable` with a neighbour from a file that `handsim mine` wrote; `training.pairs.live.LiveNeighbors` with
a neighbour that the index finds while training (SiMHand). A hand without a positive is paired with itself.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.pool import Pool
from index.mining import PAIRS_SCHEMA
from index.points import HandColumns

_COLUMNS: Final = ("hand_id", "positive_id", "distance")


class HandSet:
    """A set of hand ids: 16 MB for two million."""

    hand_ids: NDArray[np.uint64]
    """[N], rising, each once."""

    def __init__(self, hand_ids: NDArray[np.uint64]) -> None:
        """Of hands [M] in any order."""
        # Ten times as fast as numpy's unique, which hashes.
        rising = np.sort(hand_ids)
        self.hand_ids = rising[np.diff(rising, prepend=rising[:1] + np.uint64(1)) != 0]

    @classmethod
    def trainable(cls, pool: Pool, first: int | None = None) -> "HandSet":
        """The hands of a pool that a network is shown: with a crop, a known side and all joints.

        With ``first``, those of its first so many hands: what it held before it grew.
        """
        return cls(pool.hand_ids[:first][(pool.has_crops & pool.is_usable)[:first]])

    def intersect(self, other: "HandSet | None") -> "HandSet":
        """The hands that are in both; without another set, all of this one."""
        return self if other is None else HandSet(self.hand_ids[other.contains(self.hand_ids)])

    def contains(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[...] which of the hands [...] are in it."""
        if not len(self.hand_ids):
            return np.zeros(hand_ids.shape, dtype=np.bool_)
        places = np.minimum(np.searchsorted(self.hand_ids, hand_ids), len(self.hand_ids) - 1)
        return np.asarray(self.hand_ids[places] == hand_ids)

    def __len__(self) -> int:
        return len(self.hand_ids)


@dataclass(frozen=True, eq=False)
class PairDraw:
    """The pairs of B anchors."""

    anchors: NDArray[np.uint64]
    """[B]."""
    positives: NDArray[np.uint64]
    """[B]; the anchor itself, to be seen in another view, where there was no other hand."""
    distances: NDArray[np.float32]
    """[B] from anchor to positive, in the index's embedding; NaN where it is not known."""
    negatives: NDArray[np.uint64]
    """[B, n] further hands for the denominators: all different, and none of them an anchor or a positive."""
    version: str | None = None
    """Name of the index version they come from, where they come from one."""
    without_positive: int = 0
    """Anchors that are their own positive because no other was found."""
    not_in_index: int = 0
    """Of those, the ones that the index version lacks."""
    random_negatives: int = 0
    """Negatives drawn from all hands, where the band had too few."""
    up_to_turn: bool = False
    """Whether an anchor and its positive are alike only when both are turned upright."""
    left_out: int = 0
    """Hands that would have been positives, but are too near to their anchors, or duplicates of them."""
    vectors: NDArray[np.float32] | None = None
    """[2B + B n, D] in the index's embedding, of anchors, positives and negatives, where they were asked for;
    NaN for a hand that the version lacks."""

    @classmethod
    def without_index(
        cls,
        anchors: NDArray[np.uint64],
        positives: NDArray[np.uint64],
        alone: NDArray[np.bool_],
        distances: NDArray[np.float32] | float = np.nan,
        version: str | None = None,
        *,
        up_to_turn: bool = False,
    ) -> "PairDraw":
        """Pairs without negatives; where ``alone`` [B], the anchor is its own positive."""
        return cls(
            anchors=anchors,
            positives=np.where(alone, anchors, positives),
            distances=np.where(alone, np.nan, distances).astype(np.float32),
            negatives=np.empty((len(anchors), 0), dtype=np.uint64),
            version=version,
            without_positive=int(alone.sum()),
            up_to_turn=up_to_turn,
        )


class PairSource(ABC):
    """Where pairs come from."""

    @abstractmethod
    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """The pairs of anchors [B] of the pool: the same ones for the same random numbers and index version.

        Raises UnavailableError where an index does not answer; a later call may succeed.
        """

    def close(self) -> None:  # noqa: B027
        """Release what it holds, if anything. A draw on another thread is not waited for, and may fail."""


class SelfPairs(PairSource):
    """Pairs every hand with itself."""

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """The anchors [B] as their own positives; none of them counts as without one."""
        return PairDraw.without_index(anchors, anchors, np.zeros(len(anchors), dtype=np.bool_))


class TemporalNeighbors(PairSource):
    """Needs no index: the same hand of a video, a few frames apart.

    That is one of the same track; among hands without a track, one of the same video and side. A positive is
    never another hand of the anchor's own frame.
    """

    def __init__(self, hands: HandColumns, window_frames: int, pool_hands: HandSet) -> None:
        """Positives are at most ``window_frames`` frames away, and in ``pool_hands``.

        Raises HandsimError for frames too far apart to be frames of a video.
        """
        rows = np.flatnonzero(pool_hands.contains(hands.hand_ids))
        frames = hands.frames[rows]
        first, last = (int(frames.min()), int(frames.max())) if len(rows) else (0, 0)
        self._window = min(window_frames, last - first)
        # One number encodes hand and frame, in this order: a window is a range of these numbers.
        span = last - first + self._window + 1
        groups, count = _same_hand(hands, rows)
        if span * (count + 1) >= 2**63:
            raise HandsimError(
                f"frames go from {first} to {last}; temporal positives need numbers of frames, not times"
            )
        places = groups * span + (frames - first)
        order = np.argsort(places, kind="stable")
        self._hand_ids, self._places = hands.hand_ids[rows][order], places[order]
        by_id = np.argsort(self._hand_ids)
        self._sorted_ids, self._place_of_sorted = self._hand_ids[by_id], self._places[by_id]
        self._pool_hands = pool_hands

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """A positive for each anchor [B], drawn evenly from its window. Distances are not known."""
        assert self._pool_hands.contains(anchors).all(), "anchors are hands of the pool, with a crop"
        place = self._place_of_sorted[np.searchsorted(self._sorted_ids, anchors)]
        begin = np.searchsorted(self._places, place - self._window, "left")
        own = np.searchsorted(self._places, place, "left")
        after_own = np.searchsorted(self._places, place, "right")
        end = np.searchsorted(self._places, place + self._window, "right")
        before = own - begin
        count = before + (end - after_own)
        number = rng.integers(np.maximum(count, 1))
        rows = np.where(number < before, begin + number, after_own + number - before)
        rows[count == 0] = 0
        return PairDraw.without_index(anchors, self._hand_ids[rows], count == 0)


def _same_hand(hands: HandColumns, rows: NDArray[np.intp]) -> tuple[NDArray[np.int64], int]:
    """[M] a number for each hand at ``rows``, equal for the same hand in its video; and a bound of them."""
    by_side = 2 * hands.videos.codes[rows].astype(np.int64) + hands.is_left[rows]
    tracks, track = np.unique(hands.tracks[rows], return_inverse=True)
    sides = 2 * len(hands.videos.names)
    return np.where(hands.tracks[rows] > 0, sides + track, by_side), sides + len(tracks)


class MinedTable(PairSource):
    """Reads a table of `index.mining`: no index is needed, and pairs never change."""

    def __init__(self, path: str | Path, pool_hands: HandSet) -> None:
        """Read all pairs into memory, but for those of which the pool lacks the crop of a hand.

        Raises NotThereError without the file, HandsimError for one of another kind or another pool.
        """
        table = _read_pairs(Path(path))
        metadata = table.schema.metadata or {}
        version, self._up_to_turn = metadata.get(b"index_version"), metadata.get(b"up_to_turn") == b"true"
        self._version = None if version is None else version.decode()
        hands, positives, distances = (table[name].to_numpy() for name in _COLUMNS)
        usable = pool_hands.contains(hands) & pool_hands.contains(positives)
        if not usable.any():
            raise HandsimError(
                f"none of the {len(usable):,} pairs of {path} is of this pool; mine them again, in its index"
            )
        order = np.argsort(hands[usable], kind="stable")
        self._hands, self._positives, self._distances = (
            column[usable][order] for column in (hands, positives, distances)
        )

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """For each anchor [B] one of the positives that were mined for it, all equally likely."""
        begin = np.searchsorted(self._hands, anchors, "left")
        count = np.searchsorted(self._hands, anchors, "right") - begin
        rows = begin + rng.integers(np.maximum(count, 1))
        rows[count == 0] = 0
        return PairDraw.without_index(
            anchors,
            self._positives[rows],
            count == 0,
            self._distances[rows],
            self._version,
            up_to_turn=self._up_to_turn,
        )


def choose_valid(
    valid: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Different columns [Q, count] of each row among those where ``valid`` [Q, K] holds, all equally likely.

    Also [Q, count] which of them to take: the first ones, as many as are valid. K is at least count.
    """
    keys = np.where(valid, rng.random(valid.shape), np.inf)
    columns = np.argsort(keys, axis=1)[:, :count]
    return columns, np.take_along_axis(valid, columns, axis=1)


def _read_pairs(path: Path) -> pa.Table:
    if not path.is_file():
        raise NotThereError(f"there is no table of pairs at {path}; `handsim mine` writes one")
    try:
        with pq.ParquetFile(path, memory_map=True) as parquet:
            schema = parquet.schema_arrow
            for name in _COLUMNS:
                kind = PAIRS_SCHEMA.field(name).type
                if name not in schema.names or schema.field(name).type != kind:
                    raise HandsimError(
                        f"{path} is no table of pairs: it has no column {name} of {kind}; "
                        f"`handsim mine` writes one"
                    )
            return parquet.read(columns=list(_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0][:120]
        raise HandsimError(f"{path} is no table of pairs ({why}); `handsim mine` writes one") from error

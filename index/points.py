"""What an index is built from: the columns of a pool, and hands with their vectors, a batch at a time."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import Embedding, can_embed_hands
from handsim.hashing import GOLDEN_GAMMA, hash64, mix64
from handsim.pool import Categorical
from index.query import Payload

BATCH_HANDS: Final = 5_000

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class HandColumns(Protocol):
    """The columns [N] of the hands that an index is built from; a `handsim.pool.Pool` is one."""

    @property
    def hand_ids(self) -> NDArray[np.uint64]:
        """Unique."""

    @property
    def keypoints(self) -> NDArray[np.float32]:
        """[N, 21, 3] in the crop's unit square; NaN where a joint is unlabelled."""

    @property
    def videos(self) -> Categorical: ...

    @property
    def sources(self) -> Categorical: ...

    @property
    def labels(self) -> Categorical: ...

    @property
    def is_left(self) -> NDArray[np.bool_]: ...

    @property
    def has_side(self) -> NDArray[np.bool_]:
        """Whether it is known; an index takes no others."""

    @property
    def scores(self) -> NDArray[np.float32]: ...

    @property
    def frames(self) -> NDArray[np.int64]: ...

    @property
    def tracks(self) -> NDArray[np.uint64]:
        """0 where a hand is in none."""

    def __len__(self) -> int: ...


def payloads_of(hands: HandColumns, rows: NDArray[np.integer] | slice) -> list[Payload]:
    """What an index stores of the hands at ``rows`` besides their vectors."""
    return [
        Payload(
            video=video or "",
            source=source or "",
            side="left" if is_left else "right",
            label=label,
            score=score,
            frame=frame,
        )
        for video, source, is_left, label, score, frame in zip(
            hands.videos.values(rows),
            hands.sources.values(rows),
            hands.is_left[rows].tolist(),
            hands.labels.values(rows),
            hands.scores[rows].tolist(),
            hands.frames[rows].tolist(),
            strict=True,
        )
    ]


@dataclass(frozen=True, eq=False)
class PointBatch:
    """Some hands of an index."""

    hand_ids: NDArray[np.uint64]
    """[n]."""
    vectors: NDArray[np.float32]
    """[n, D]; [n, 0] where nobody asked for them."""
    payloads: list[Payload]
    """n of them; none where nobody asked for them."""

    def __len__(self) -> int:
        return len(self.hand_ids)

    def select(self, mask: NDArray[np.bool_]) -> "PointBatch":
        """Those of its hands where ``mask`` [n] holds."""
        payloads = [payload for payload, stays in zip(self.payloads, mask.tolist(), strict=False) if stays]
        return PointBatch(self.hand_ids[mask], self.vectors[mask], payloads)


class PointSource(Protocol):
    """Hands with vectors that can be read repeatedly from the start, always the same ones."""

    def __len__(self) -> int: ...

    @property
    def origin(self) -> str:
        """16 hex digits over what the hands are made of: equal ones are equal in the same embedding."""
        ...

    def batches(self) -> Iterator[PointBatch]:
        """All of them, with vectors, each hand once."""
        ...


@dataclass(frozen=True)
class ConcatenatedPoints:
    """The hands of one source, then those of another."""

    first: PointSource
    second: PointSource

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def origin(self) -> str:
        """See `PointSource`."""
        return _hash_text(self.first.origin, self.second.origin)

    def batches(self) -> Iterator[PointBatch]:
        """All of them, with vectors."""
        yield from self.first.batches()
        yield from self.second.batches()


@dataclass(frozen=True, eq=False)
class Difference:
    """How the hands of a pool differ from those of an index version; false where they do not."""

    base: str
    """The version's name."""
    new: NDArray[np.int64]
    """Rows [n] of the pool's hands that the version lacks."""
    changed: NDArray[np.int64]
    """Rows [c] of those whose video, source, label or side is another one in the pool."""
    removed: NDArray[np.uint64]
    """Ids [r] of the version's hands that the pool does not hold any more."""

    def __bool__(self) -> bool:
        return bool(len(self.new) or len(self.changed) or len(self.removed))

    @classmethod
    def between(
        cls, base: str, pages: Iterable[PointBatch], hands: HandColumns, usable: NDArray[np.bool_]
    ) -> "Difference":
        """Of a version, all of whose hands are in ``pages``, and the hands [N] of a pool.

        ``usable`` [N] says which ones its embedding takes; the others are not new.
        """
        order = np.argsort(hands.hand_ids)
        ids = hands.hand_ids[order]
        is_indexed = np.zeros(len(ids), dtype=np.bool_)
        changed: list[NDArray[np.int64]] = []
        removed = [np.empty(0, dtype=np.uint64)]
        for page in pages:
            places = np.searchsorted(ids, page.hand_ids)
            is_here = places < len(ids)
            is_here[is_here] = ids[places[is_here]] == page.hand_ids[is_here]
            is_indexed[places[is_here]] = True
            removed.append(page.hand_ids[~is_here])
            rows = order[places[is_here]]
            columns = (hands.videos.values(rows), hands.sources.values(rows), hands.labels.values(rows))
            names = (
                (video or "", source or "", label, is_left)
                for video, source, label, is_left in zip(*columns, hands.is_left[rows].tolist(), strict=True)
            )
            indexed = page.select(is_here).payloads
            # With another side, a hand has other keypoints, too.
            differs = [
                (payload["video"], payload["source"], payload["label"], payload["side"] == "left") != name
                for payload, name in zip(indexed, names, strict=True)
            ]
            changed.append(rows[np.array(differs, dtype=np.bool_)])
        changed_rows = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *changed]))
        new = np.sort(order[~is_indexed & usable[order]]).astype(np.int64)
        return cls(base, new, changed_rows, np.concatenate(removed))


@dataclass(frozen=True)
class PointsWithout:
    """The hands of a source but for some."""

    points: PointSource
    hand_ids: NDArray[np.uint64]
    """[r] of those that are left out; the source has them all."""

    def __len__(self) -> int:
        return len(self.points) - len(self.hand_ids)

    @property
    def origin(self) -> str:
        """See `PointSource`."""
        return _hash_text(self.points.origin, hashlib.sha256(self.hand_ids.tobytes()).hexdigest())

    def batches(self) -> Iterator[PointBatch]:
        """The others, with vectors."""
        for batch in self.points.batches():
            yield batch.select(~np.isin(batch.hand_ids, self.hand_ids))


class PoolPoints:
    """The hands of a pool with the vectors that an embedding gives them.

    Hands that it gives none, for want of joints or of a side (`can_embed_hands`), are not among them.
    """

    def __init__(
        self, hands: HandColumns, embedding: Embedding, rows: NDArray[np.int64] | None = None
    ) -> None:
        """Of all hands, or of those at ``rows`` [n]."""
        self._hands = hands
        self._embedding = embedding
        is_taken = can_embed_hands(embedding, hands)
        if rows is not None:
            rows = rows[is_taken[rows]]
        elif not is_taken.all():
            rows = np.flatnonzero(is_taken)
        self._rows = rows

    def __len__(self) -> int:
        return len(self._hands) if self._rows is None else len(self._rows)

    @property
    def rows(self) -> NDArray[np.int64]:
        """[n] their rows in the pool."""
        return np.arange(len(self)) if self._rows is None else self._rows

    @cached_property
    def origin(self) -> str:
        """See `PointSource`: over the columns of the pool that vectors and payloads are made of.

        Two million hands take two seconds of the minute that embedding and writing them takes.
        """
        hands = self._hands
        categories = (hands.videos, hands.sources, hands.labels)
        numbers: tuple[NDArray[Any], ...] = (
            hands.hand_ids,
            hands.keypoints,
            hands.is_left,
            hands.scores,
            hands.frames,
        )
        digest = hashlib.blake2b(digest_size=8)
        digest.update(json.dumps([column.names for column in categories]).encode())
        for rows in self._slices():
            for column in (*numbers, *(category.codes for category in categories)):
                digest.update(column[rows].tobytes())
        return digest.hexdigest()

    def batches(self) -> Iterator[PointBatch]:
        """All of them, in the pool's order."""
        for rows in self._slices():
            vectors = self._embedding.embed_hands(self._hands, rows)
            yield PointBatch(self._hands.hand_ids[rows], vectors, payloads_of(self._hands, rows))

    def vectors(self, progress: Progress | None = None) -> NDArray[np.float32]:
        """[n, D] of all of them, in the pool's order."""
        vectors = np.empty((len(self), self._embedding.dimension), dtype=np.float32)
        done = 0
        for rows in self._slices():
            batch = self._embedding.embed_hands(self._hands, rows)
            vectors[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, len(self))
        return vectors

    def _slices(self) -> Iterator[NDArray[np.int64] | slice]:
        """The rows of each batch."""
        for start in range(0, len(self), BATCH_HANDS):
            part = slice(start, min(start + BATCH_HANDS, len(self)))
            yield part if self._rows is None else self._rows[part]


class Checksum:
    """A hash over ids and vectors that does not depend on the order in which they come.

    Each hand's id and the bits of its vector are mixed into 64 bits (`mix64`), and these are added up: in any
    order, so that a copy can be compared with its original without sorting either.
    """

    def __init__(self, count: int = 0, total: int = 0) -> None:
        """Of no hands yet, or continuing from the two numbers of a digest."""
        self.count = count
        self._total = total

    @classmethod
    def of(cls, batches: Iterable[PointBatch]) -> "Checksum":
        """Of all hands of the batches."""
        checksum = cls()
        for batch in batches:
            checksum.add(batch)
        return checksum

    @classmethod
    def parse(cls, digest: str) -> "Checksum":
        """Continue from a `digest`; raises ValueError for another text."""
        count, total = digest.split("-")
        return cls(int(count), int(total, 16))

    def add(self, batch: PointBatch) -> None:
        """Add the hands of a batch."""
        state = _mix(batch.hand_ids)
        for column in np.ascontiguousarray(batch.vectors, dtype="<f4").view("<u4").T:
            state = _mix(state ^ column)
        self._total = (self._total + int(state.sum(dtype=np.uint64))) % 2**64
        self.count += len(batch)

    @property
    def digest(self) -> str:
        """``<number of hands>-<16 hex digits>``."""
        return f"{self.count}-{self._total:016x}"


def _hash_text(*parts: str) -> str:
    return f"{hash64(' '.join(parts).encode()):016x}"


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return mix64(state + np.uint64(GOLDEN_GAMMA))

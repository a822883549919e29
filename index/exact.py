"""Exact search in memory: the reference that the other engines are measured against."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import Embedding
from handsim.errors import HandsimError
from index.info import DEFAULT_SETTINGS, VersionInfo
from index.points import Checksum, HandColumns, PointBatch, PoolPoints, payloads_of
from index.query import NO_HAND, Filter, Neighbors, Payload, SearchOptions, mmr_candidates
from index.version import IndexVersion

_BLOCK_DISTANCES: Final = 2**22
"""Distances in memory at once: 32 MB, whatever the number of queries."""


class ExactIndex(IndexVersion):
    """All hands in memory; each query is compared with every one."""

    def __init__(self, hands: HandColumns, embedding: Embedding) -> None:
        """Embed the hands; raises HandsimError when there are none."""
        if len(hands) == 0:
            raise HandsimError("there are no hands to search; `handsim ingest PATH` first")
        self.embedding = embedding
        self._hands = hands
        # By rising id, so that a binary search finds a hand.
        self._order = np.argsort(hands.hand_ids)
        self._ids = hands.hand_ids[self._order]
        batches = list(PoolPoints(hands, embedding).batches())
        self._vectors = np.concatenate([batch.vectors for batch in batches])[self._order]
        self._video_codes = hands.videos.codes[self._order]
        self._code_of_video = {name: code for code, name in enumerate(hands.videos.names)}
        self.info = VersionInfo(
            name="exact",
            points=len(hands),
            dimension=embedding.dimension,
            embedding_kind=embedding.kind,
            embedding_fingerprint=embedding.fingerprint,
            built_at="",
            build_seconds=0.0,
            settings=DEFAULT_SETTINGS,
            checksum=Checksum.of(batches).digest,
            bytes_on_disk=None,
            recall_at_1=None,
            is_current=True,
        )

    def indexed_points(self) -> int:
        """0: there is no graph."""
        return 0

    def close(self) -> None:
        """Nothing to release."""

    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
        not_hands: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        admitted = np.flatnonzero(self._admitted(options.filter))
        block = max(1, _BLOCK_DISTANCES // max(1, len(admitted)))
        candidates = min(mmr_candidates(k), len(admitted)) if options.diversity else k
        bound = np.inf if options.padded_max_distance is None else options.padded_max_distance
        own = np.full(len(vectors), NO_HAND, dtype=np.uint64) if not_hands is None else not_hands
        answers: list[tuple[list[int], list[float]]] = []
        payloads: list[list[Payload]] = []
        for start in range(0, len(vectors), block):
            queries = slice(start, start + block)
            rows, distances = self._nearest_block(
                vectors[queries], candidates, admitted, not_videos[queries], own[queries]
            )
            for hits, far in zip(rows, distances, strict=True):
                hits = hits[np.isfinite(far) & (far <= bound)]
                if options.diversity:
                    chosen = self._choose_diverse(hits, far[: len(hits)], k, options.diversity)
                    hits, far = hits[chosen], far[chosen]
                answers.append((self._ids[hits].tolist(), far[: len(hits)].tolist()))
                if options.with_payload:
                    payloads.append(self._payloads(hits))
        return Neighbors.gather(answers, k, payloads if options.with_payload else None)

    def _nearest_block(
        self,
        queries: NDArray[np.float32],
        k: int,
        admitted: NDArray[np.intp],
        not_videos: Sequence[Sequence[str]],
        not_hands: NDArray[np.uint64],
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rows [Q, K] and distances [Q, K], infinite for those that the query excludes."""
        vectors = queries.astype(np.float64)
        others = self._vectors[admitted].astype(np.float64)
        # |a - b|^2 = |a|^2 - 2 a.b + |b|^2: one matrix product; float64 because the terms cancel.
        squared = (vectors**2).sum(1)[:, None] - 2 * vectors @ others.T + (others**2).sum(1)
        video_codes = self._video_codes[admitted]
        for row, videos in enumerate(not_videos):
            codes = self._codes_of(videos)
            if codes:
                squared[row, np.isin(video_codes, codes)] = np.inf
        squared[self._ids[admitted] == not_hands[:, None]] = np.inf
        nearest = np.tile(np.arange(len(admitted)), (len(queries), 1))
        if k < len(admitted):
            nearest = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(squared, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        distances = np.sqrt(np.maximum(np.take_along_axis(squared, nearest, axis=1), 0.0))
        return admitted[nearest], distances

    def _choose_diverse(
        self, rows: NDArray[np.intp], distances: NDArray[np.float64], k: int, diversity: float
    ) -> list[int]:
        """Places of at most k rows by maximal marginal relevance: each is near and unlike those before.

        As in Qdrant, the similarity is the negative squared distance.
        """
        relevance = -(1 - diversity) * distances**2
        redundancy = np.zeros(len(rows))
        chosen: list[int] = []
        while len(chosen) < min(k, len(rows)):
            score = relevance - diversity * redundancy
            score[chosen] = -np.inf
            chosen.append(int(score.argmax()))
            similarity = -((self._vectors[rows] - self._vectors[rows[chosen[-1]]]) ** 2).sum(axis=1)
            redundancy = similarity if len(chosen) == 1 else np.maximum(redundancy, similarity)
        return chosen

    def _recommend(
        self,
        positives: NDArray[np.float32],
        negatives: NDArray[np.float32],
        k: int,
        not_videos: Sequence[str],
        options: SearchOptions,
    ) -> PointBatch:
        is_excluded = np.isin(self._video_codes, self._codes_of(not_videos))
        admitted = np.flatnonzero(self._admitted(options.filter) & ~is_excluded)
        near, far = (
            (((self._vectors[admitted][:, None] - examples) ** 2).sum(axis=2)).min(axis=1, initial=np.inf)
            for examples in (positives, negatives)
        )
        # First those nearer to a positive, nearest first; then the others, furthest from a negative first.
        order = np.lexsort((np.where(near < far, near, -far), near >= far))[:k]
        return self._batch(admitted[order], with_vectors=True, with_payload=options.with_payload)

    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        rows = np.minimum(np.searchsorted(self._ids, hand_ids), len(self) - 1)
        rows = rows[self._ids[rows] == hand_ids]
        points = zip(self._vectors[rows].tolist(), self._payloads(rows), strict=True)
        return dict(zip(self._ids[rows].tolist(), points, strict=True))

    def _sample(self, count: int, filter: Filter | None) -> NDArray[np.uint64]:
        admitted = self._ids[self._admitted(filter)]
        return np.random.default_rng().choice(admitted, min(count, len(admitted)), replace=False)

    def _page(
        self, start: int, limit: int, filter: Filter | None, with_vectors: bool, with_payload: bool
    ) -> tuple[PointBatch, int | None]:
        rows = np.flatnonzero(self._admitted(filter) & (self._ids >= np.uint64(start)))
        page = self._batch(rows[:limit], with_vectors, with_payload)
        return page, int(self._ids[rows[limit]]) if len(rows) > limit else None

    def _batch(self, rows: NDArray[np.intp], with_vectors: bool, with_payload: bool) -> PointBatch:
        vectors = self._vectors[rows] if with_vectors else np.empty((len(rows), 0), dtype=np.float32)
        return PointBatch(self._ids[rows], vectors, self._payloads(rows) if with_payload else [])

    def _payloads(self, rows: NDArray[np.intp]) -> list[Payload]:
        return payloads_of(self._hands, self._order[rows])

    def _codes_of(self, videos: Sequence[str]) -> list[int]:
        return [self._code_of_video[video] for video in videos if video in self._code_of_video]

    def _admitted(self, filter: Filter | None) -> NDArray[np.bool_]:
        """[N] which rows meet the filter."""
        hands, order = self._hands, self._order
        admitted = np.ones(len(hands), dtype=np.bool_)
        if filter is None:
            return admitted
        for column, names in (
            (hands.sources, filter.sources),
            (hands.videos, filter.videos),
            (hands.labels, filter.labels),
        ):
            if names is not None:
                codes = [code for code, name in enumerate(column.names) if name in names]
                admitted &= np.isin(column.codes[order], codes)
        if filter.sides is not None:
            admitted &= np.where(hands.is_left[order], "left" in filter.sides, "right" in filter.sides)
        if filter.min_score is not None:
            admitted &= hands.scores[order] >= np.float32(filter.min_score)
        if filter.hands is not None:
            admitted &= np.isin(self._ids, np.fromiter(filter.hands, np.uint64, len(filter.hands)))
        if filter.not_hands is not None:
            admitted &= ~np.isin(self._ids, np.fromiter(filter.not_hands, np.uint64, len(filter.not_hands)))
        return admitted

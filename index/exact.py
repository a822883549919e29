"""Exact search in memory: what the other engines are measured against."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import PoseEmbedding
from handsim.errors import HandsimError
from index.columns import HandColumns, payloads_of
from index.filter import Filter
from index.neighbors import Neighbors, Payload
from index.version import IndexVersion, SearchOptions, VersionInfo

_BLOCK_DISTANCES: Final = 2**22
"""Distances held at once: 32 MB, whatever the number of queries."""


class ExactIndex(IndexVersion):
    """All hands in memory, each query compared with every one."""

    def __init__(self, hands: HandColumns, embedding: PoseEmbedding) -> None:
        """Embed the hands; raises HandsimError when there are none."""
        if len(hands) == 0:
            raise HandsimError("there are no hands to search; `handsim ingest PATH` first")
        self.embedding = embedding
        self._hands = hands
        # By rising id, so that hands are found by bisection.
        self._order = np.argsort(hands.hand_ids)
        self._ids = hands.hand_ids[self._order]
        self._vectors = embedding.transform(hands.keypoints[self._order])
        self._video_codes = hands.videos.codes[self._order]
        self._code_of_video = {name: code for code, name in enumerate(hands.videos.names)}
        self.info = VersionInfo(
            name="exact",
            points=len(hands),
            dimension=embedding.dimension,
            embedding_kind="pose",
            embedding_fingerprint=embedding.fingerprint,
            built_at="",
            build_seconds=0.0,
            bytes_on_disk=0,
            is_current=True,
        )

    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
    ) -> Neighbors:
        admitted = np.flatnonzero(self._admitted(options.filter))
        block = max(1, _BLOCK_DISTANCES // max(1, len(admitted)))
        answers: list[tuple[list[int], list[float]]] = []
        payloads: list[list[Payload]] = []
        for start in range(0, len(vectors), block):
            excluded = not_videos[start : start + block]
            rows, distances = self._nearest_block(vectors[start : start + block], k, admitted, excluded)
            for hits, far in zip(rows, distances, strict=True):
                hits = hits[np.isfinite(far)]
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
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rows [Q, K] and distances [Q, K], infinite for those that the query may not have."""
        wanted = queries.astype(np.float64)
        held = self._vectors[admitted].astype(np.float64)
        # |a - b|^2 = |a|^2 - 2 a.b + |b|^2: one matrix product; float64 keeps what cancels.
        squared = (wanted**2).sum(1)[:, None] - 2 * wanted @ held.T + (held**2).sum(1)
        video_codes = self._video_codes[admitted]
        for row, videos in enumerate(not_videos):
            codes = [self._code_of_video[video] for video in videos if video in self._code_of_video]
            if codes:
                squared[row, np.isin(video_codes, codes)] = np.inf
        nearest = np.tile(np.arange(len(admitted)), (len(queries), 1))
        if k < len(admitted):
            nearest = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(squared, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        distances = np.sqrt(np.maximum(np.take_along_axis(squared, nearest, axis=1), 0.0))
        return admitted[nearest], distances

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
        return admitted

    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        rows = np.minimum(np.searchsorted(self._ids, hand_ids), len(self) - 1)
        rows = rows[self._ids[rows] == hand_ids]
        held = zip(self._vectors[rows].tolist(), self._payloads(rows), strict=True)
        return dict(zip(self._ids[rows].tolist(), held, strict=True))

    def close(self) -> None:
        """Nothing to let go of."""

    def _payloads(self, rows: NDArray[np.intp]) -> list[Payload]:
        return payloads_of(self._hands, self._order[rows])

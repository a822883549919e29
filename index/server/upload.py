"""Writing hands into a collection: a few requests under way at once, in bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from index.points import Checksum, PointBatch, PointSource, Progress
from index.server.collection import VersionCollection
from index.server.heart import Claim
from index.server.questions import stored_payload

_HANDS_AT_ONCE: Final = 1000
_REQUESTS_AT_ONCE: Final = 4
_IDS_AT_ONCE: Final = 10_000


class Upload:
    """Writes all hands of a source that a collection does not hold yet."""

    def __init__(self, collection: VersionCollection, claim: Claim) -> None:
        """Into a collection that exists, as long as the claim on building holds."""
        self._connection = collection.connection
        self._collection = collection.name
        self._claim = claim

    def run(self, points: PointSource, checksum: Checksum, progress: Progress | None = None) -> None:
        """Write them; ``checksum`` takes in all of them, those too that were there before.

        Raises what `Connection.call` raises; what was written until then stays.
        """
        held = self._held()
        done = 0
        under_way: deque[tuple[int, Future[None]]] = deque()
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE, "handsim-upload") as pool:
            try:
                for batch in _in_pieces(points.batches()):
                    self._claim.check()
                    checksum.add(batch)
                    if len(under_way) == _REQUESTS_AT_ONCE:
                        done += _finish(under_way, done, len(points), progress)
                    missing = batch.take(~np.isin(batch.hand_ids, held)) if len(held) else batch
                    under_way.append((len(batch), pool.submit(self._write, missing)))
                while under_way:
                    done += _finish(under_way, done, len(points), progress)
            except BaseException:
                for _, future in under_way:
                    future.cancel()
                raise

    def _held(self) -> NDArray[np.uint64]:
        """The ids that are there already [n], rising."""
        pages: list[NDArray[np.uint64]] = [np.empty(0, dtype=np.uint64)]
        offset: models.ExtendedPointId | None = 0
        while offset is not None:
            start = offset

            def scroll(
                client: QdrantClient, start: models.ExtendedPointId = start
            ) -> tuple[list[models.Record], models.ExtendedPointId | None]:
                return client.scroll(self._collection, limit=_IDS_AT_ONCE, offset=start, with_payload=False)

            records, offset = self._connection.call(scroll)
            pages.append(np.array([record.id for record in records], dtype=np.uint64))
        return np.concatenate(pages)

    def _write(self, batch: PointBatch) -> None:
        if not len(batch):
            return
        points = models.Batch(
            ids=batch.hand_ids.tolist(),
            vectors=batch.vectors.tolist(),
            payloads=[stored_payload(payload) for payload in batch.payloads],
        )
        self._connection.call(lambda client: client.upsert(self._collection, points, wait=True))


def _in_pieces(batches: Iterable[PointBatch]) -> Iterator[PointBatch]:
    for batch in batches:
        for start in range(0, len(batch), _HANDS_AT_ONCE):
            rows = slice(start, start + _HANDS_AT_ONCE)
            yield PointBatch(batch.hand_ids[rows], batch.vectors[rows], batch.payloads[rows])


def _finish(
    under_way: "deque[tuple[int, Future[None]]]", done: int, total: int, progress: Progress | None
) -> int:
    """Wait for the oldest request; returns how many hands it brought."""
    count, future = under_way.popleft()
    future.result()
    if progress is not None:
        progress(done + count, total)
    return count

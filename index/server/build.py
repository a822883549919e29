"""Writing one version into a collection of its own, or more hands into a complete one.

Upload, wait until the server has built the graph, count, and mark the version complete. Each step may be
repeated: a build that was stopped is resumed, and hands that are there are not written again.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from handsim.errors import HandsimError, UnavailableError, one_line
from index.points import Checksum, PointBatch, PointSource, Progress
from index.qdrant import encode_payload
from index.server.collection import VersionCollection, VersionRecord
from index.server.leases import ExclusiveLease
from index.version import IndexVersion

_HANDS_PER_REQUEST: Final = 1000
_MAX_CONCURRENT_REQUESTS: Final = 4
_IDS_PER_PAGE: Final = 10_000

_ORDERING: Final = models.WriteOrdering.WEAK
"""A hand's id and vector follow from its content, and no two requests write the same hand: their order does
not matter, and any node may take them. Other orderings send them through one replica, which may be away."""
_ALL: Final = models.ReadConsistencyType.ALL

_FIRST_POLL_S: Final = 0.1
_LONGEST_POLL_S: Final = 2.0
_QUIET_POLLS: Final = 5
"""Polls in a row that find the server idle and nothing changed, before the graph counts as complete."""


class VersionWriter:
    """Writes the hands of one version, and its record when they are there."""

    def __init__(self, collection: VersionCollection, record: VersionRecord, lease: ExclusiveLease) -> None:
        """``record`` is the version's as it is before."""
        self._collection = collection
        self._record = record
        self._lease = lease
        self._started = time.perf_counter()

    def write(self, points: PointSource, progress: Progress | None = None) -> None:
        """Write all points that the collection of an unfinished version does not hold yet, and complete it.

        Raises HandsimError when it holds hands that are not among the points: it is removed then. When hands
        are missing that the server has acknowledged, it stays as it is.
        """
        collection, record = self._collection, self._record
        collection.create_payload_indexes(record.settings.on_disk)
        checksum = Checksum()
        self._upload(points, checksum, progress)
        self.await_indexed()
        count = collection.count()
        if count > record.points:
            collection.delete()
            raise HandsimError(
                f"{collection.name} held {count:,} hands and not {record.points:,}: it was begun with "
                f"others, and is removed; `handsim index build` again"
            )
        if count < record.points:
            raise HandsimError(
                f"{collection.name} holds {count:,} of {record.points:,} hands, though the server has taken "
                f"them all: a part of it may be away; `handsim index build` again continues it"
            )
        self._complete(checksum)

    def grow(
        self,
        points: PointSource,
        replaced: NDArray[np.uint64],
        version: IndexVersion,
        progress: Progress | None = None,
    ) -> None:
        """Delete the hands ``replaced`` of a complete version that readers may have open; write further ones.

        ``version`` is the same one, to read it.
        """
        self._collection.update_metadata(state="growing", recall_at_1=None, verification=None)
        if len(replaced):
            self._delete(replaced)
            checksum = Checksum.of(version.scroll(with_vectors=True, with_payload=False))
        else:
            checksum = Checksum.parse(self._record.checksum)
        self._upload(points, checksum, progress)
        self._record = replace(self._record, points=checksum.count, origin="")
        self.await_indexed()
        self._complete(checksum)

    def repair(self, version: IndexVersion) -> None:
        """Update the record to the hands that the version holds, after a process was killed in `grow`."""
        checksum = Checksum.of(version.scroll(with_vectors=True, with_payload=False))
        self._record = replace(self._record, points=checksum.count, origin="")
        self.await_indexed()
        self._complete(checksum)

    def await_indexed(self) -> None:
        """Switch indexing on, and return when the collection is green and its graph will not grow any more.

        A server may still report green in the moment after indexing was switched on, before it began. So
        green counts at once only when enough hands are in the graph, and else after some polls without
        change: parts below the threshold never get a graph, nor does anything in the client's local mode.
        Raises HandsimError when the server reports an error.
        """
        collection, threshold_kb = self._collection, self._record.settings.index_above_kb
        collection.set_indexing_threshold(threshold_kb)
        quiet_polls = 0
        before: tuple[int, int] | None = None
        poll_s = _FIRST_POLL_S
        while quiet_polls < _QUIET_POLLS:
            self._lease.check()
            info = collection.read_info()
            _check_status(info, collection.name)
            if info.status == models.CollectionStatus.GREY:
                # A server that was restarted waits for some change before it goes on.
                collection.set_indexing_threshold(threshold_kb)
            indexed = info.indexed_vectors_count or 0
            if info.status == models.CollectionStatus.GREEN:
                if indexed >= self._record.points - _max_unindexed(info, self._record):
                    return
                now = (indexed, info.segments_count)
                quiet_polls = quiet_polls + 1 if now == before else 1
                before = now
            else:
                quiet_polls, before = 0, None
            collection.connection.sleep(poll_s)
            poll_s = min(_LONGEST_POLL_S, poll_s * 1.5)

    def _complete(self, checksum: Checksum) -> None:
        self._lease.check()
        self._collection.update_metadata(
            state="complete",
            points=self._record.points,
            checksum=checksum.digest,
            origin=self._record.origin,
            built_at=datetime.now(UTC).isoformat(timespec="seconds"),
            build_seconds=round(self._record.build_seconds + time.perf_counter() - self._started, 3),
        )

    def _upload(self, points: PointSource, checksum: Checksum, progress: Progress | None) -> None:
        """Write all points that the collection does not hold yet; ``checksum`` gets the others, too.

        A few requests run at once, in bounded memory. Raises what `Connection.call` raises; what is written
        stays.
        """
        present = self._read_ids()
        done = 0
        requests: deque[tuple[int, Future[None]]] = deque()

        def finish_oldest() -> None:
            nonlocal done
            count, future = requests.popleft()
            future.result()
            done += count
            if progress is not None:
                progress(done, len(points))

        with ThreadPoolExecutor(_MAX_CONCURRENT_REQUESTS, "handsim-upload") as pool:
            try:
                for batch in _split(points.batches()):
                    self._lease.check()
                    checksum.add(batch)
                    if len(requests) == _MAX_CONCURRENT_REQUESTS:
                        finish_oldest()
                    missing = batch.select(~np.isin(batch.hand_ids, present)) if len(present) else batch
                    requests.append((len(batch), pool.submit(self._upsert, missing)))
                while requests:
                    finish_oldest()
            except BaseException:
                for _, future in requests:
                    future.cancel()
                raise

    def _upsert(self, batch: PointBatch) -> None:
        if not len(batch):
            return
        points = models.Batch(
            ids=batch.hand_ids.tolist(),
            vectors=batch.vectors.tolist(),
            payloads=[encode_payload(payload) for payload in batch.payloads],
        )
        self._collection.connection.call(
            lambda client: client.upsert(self._collection.name, points, wait=True, ordering=_ORDERING)
        )

    def _delete(self, hand_ids: NDArray[np.uint64]) -> None:
        for start in range(0, len(hand_ids), _HANDS_PER_REQUEST):
            self._lease.check()
            self._delete_at_once(hand_ids[start : start + _HANDS_PER_REQUEST].tolist())

    def _delete_at_once(self, hand_ids: list[Any]) -> None:
        points = models.PointIdsList(points=hand_ids)
        self._collection.connection.call(
            lambda client: client.delete(self._collection.name, points, wait=True, ordering=_ORDERING)
        )

    def _read_ids(self) -> NDArray[np.uint64]:
        """The ids [n] of the hands that every replica holds, rising.

        A write that was not acknowledged may have reached one replica and not another. Where the replicas
        cannot all be asked, none: writing a hand again changes nothing.
        """
        connection = self._collection.connection.without_retries()
        pages = connection.pages(
            self._collection.name, limit=_IDS_PER_PAGE, with_payload=False, consistency=_ALL
        )
        try:
            return np.array([record.id for page in pages for record in page], dtype=np.uint64)
        except UnavailableError:
            return np.empty(0, dtype=np.uint64)


def _check_status(info: models.CollectionInfo, collection: str) -> None:
    optimizer = info.optimizer_status
    if isinstance(optimizer, models.OptimizersStatusOneOf1):
        reason = one_line(optimizer.error)
        raise HandsimError(f"the server cannot index {collection} ({reason}); see its log, then build again")
    if info.status == models.CollectionStatus.RED:
        raise HandsimError(
            f"the server calls {collection} red: a write failed; see its log, then build again"
        )


def _max_unindexed(info: models.CollectionInfo, record: VersionRecord) -> int:
    """How many hands may lie in segments too small for a graph: fewer than the threshold in each."""
    if info.segments_count <= 1:
        return 0
    per_segment = record.settings.index_above_kb * 1024 // (record.dimension * 4) + 1
    return min(record.points // 2, (info.segments_count - 1) * per_segment)


def _split(batches: Iterable[PointBatch]) -> Iterator[PointBatch]:
    """In batches for one request each."""
    for batch in batches:
        for start in range(0, len(batch), _HANDS_PER_REQUEST):
            rows = slice(start, start + _HANDS_PER_REQUEST)
            yield PointBatch(batch.hand_ids[rows], batch.vectors[rows], batch.payloads[rows])

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
from typing import Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from handsim.errors import HandsimError
from index.points import Checksum, PointBatch, PointSource, Progress
from index.qdrant import encode_payload
from index.server.collection import VersionCollection, VersionRecord
from index.server.leases import ExclusiveLease
from index.version import IndexVersion

_HANDS_PER_REQUEST: Final = 1000
_MAX_CONCURRENT_REQUESTS: Final = 4
_IDS_PER_PAGE: Final = 10_000

_FIRST_POLL_S: Final = 0.1
_LONGEST_POLL_S: Final = 2.0
_QUIET_POLLS: Final = 5
"""Polls in a row that find the server idle and nothing changed, before the graph counts as complete."""


def write_version(
    collection: VersionCollection,
    record: VersionRecord,
    points: PointSource,
    lease: ExclusiveLease,
    progress: Progress | None = None,
) -> None:
    """Write all points that the collection of an unfinished version does not hold yet, and complete it.

    Raises HandsimError when it holds hands that are not among the points: it is removed then.
    """
    started = time.perf_counter()
    collection.create_payload_indexes(record.settings.on_disk)
    checksum = Checksum()
    _upload(collection, points, lease, checksum, progress)
    await_indexed(collection, record, lease)
    count = collection.count()
    if count != record.points:
        collection.delete()
        raise HandsimError(
            f"{collection.name} held {count:,} hands and not {record.points:,}: it was begun with others, "
            f"and is removed; `handsim index build` again"
        )
    _complete(collection, record, checksum, lease, time.perf_counter() - started)


def grow_version(
    collection: VersionCollection,
    record: VersionRecord,
    points: PointSource,
    lease: ExclusiveLease,
    progress: Progress | None = None,
) -> None:
    """Write further hands into a complete version that readers may have open."""
    started = time.perf_counter()
    collection.update_metadata(state="growing")
    checksum = Checksum.parse(record.checksum)
    _upload(collection, points, lease, checksum, progress)
    grown = replace(record, points=record.points + len(points))
    await_indexed(collection, grown, lease)
    _complete(collection, grown, checksum, lease, record.build_seconds + time.perf_counter() - started)


def repair_growth(
    collection: VersionCollection, record: VersionRecord, version: IndexVersion, lease: ExclusiveLease
) -> None:
    """Update the record of a version to the hands it holds, after a process was killed in `grow_version`."""
    checksum = Checksum()
    points = 0
    for page in version.scroll(with_vectors=True, with_payload=False):
        checksum.add(page)
        points += len(page)
    repaired = replace(record, points=points)
    await_indexed(collection, repaired, lease)
    _complete(collection, repaired, checksum, lease, record.build_seconds)


def await_indexed(collection: VersionCollection, record: VersionRecord, lease: ExclusiveLease) -> None:
    """Switch indexing on, and return when the collection is green and its graph will not grow any more.

    A server may still report green in the moment after indexing was switched on, before it began. So green
    counts at once only when enough hands are in the graph, and else after some polls without change: parts
    below the threshold never get a graph, nor does anything in the client's local mode. Raises HandsimError
    when the server reports an error.
    """
    collection.set_indexing_threshold(record.settings.index_above_kb)
    quiet_polls = 0
    before: tuple[int, int] | None = None
    poll_s = _FIRST_POLL_S
    while quiet_polls < _QUIET_POLLS:
        lease.check()
        info = collection.read_info()
        _check_status(info, collection.name)
        if info.status == models.CollectionStatus.GREY:
            # A server that was restarted waits for some change before it goes on.
            collection.set_indexing_threshold(record.settings.index_above_kb)
        indexed = info.indexed_vectors_count or 0
        if info.status == models.CollectionStatus.GREEN:
            if indexed >= record.points - _max_unindexed(info, record):
                return
            now = (indexed, info.segments_count)
            quiet_polls = quiet_polls + 1 if now == before else 1
            before = now
        else:
            quiet_polls, before = 0, None
        collection.connection.sleep(poll_s)
        poll_s = min(_LONGEST_POLL_S, poll_s * 1.5)


def _check_status(info: models.CollectionInfo, collection: str) -> None:
    optimizer = info.optimizer_status
    if isinstance(optimizer, models.OptimizersStatusOneOf1):
        reason = " ".join(optimizer.error.split())[:200]
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


def _complete(
    collection: VersionCollection,
    record: VersionRecord,
    checksum: Checksum,
    lease: ExclusiveLease,
    seconds: float,
) -> None:
    lease.check()
    collection.update_metadata(
        state="complete",
        points=record.points,
        checksum=checksum.digest,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_seconds=round(seconds, 3),
    )


def _upload(
    collection: VersionCollection,
    points: PointSource,
    lease: ExclusiveLease,
    checksum: Checksum,
    progress: Progress | None,
) -> None:
    """Write all points that the collection does not hold yet; ``checksum`` gets the others, too.

    A few requests run at once, in bounded memory. Raises what `Connection.call` raises; what is written
    stays.
    """
    present = _read_ids(collection)
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
                lease.check()
                checksum.add(batch)
                if len(requests) == _MAX_CONCURRENT_REQUESTS:
                    finish_oldest()
                missing = batch.select(~np.isin(batch.hand_ids, present)) if len(present) else batch
                requests.append((len(batch), pool.submit(_upsert, collection, missing)))
            while requests:
                finish_oldest()
        except BaseException:
            for _, future in requests:
                future.cancel()
            raise


def _split(batches: Iterable[PointBatch]) -> Iterator[PointBatch]:
    """In batches for one request each."""
    for batch in batches:
        for start in range(0, len(batch), _HANDS_PER_REQUEST):
            rows = slice(start, start + _HANDS_PER_REQUEST)
            yield PointBatch(batch.hand_ids[rows], batch.vectors[rows], batch.payloads[rows])


def _upsert(collection: VersionCollection, batch: PointBatch) -> None:
    if not len(batch):
        return
    points = models.Batch(
        ids=batch.hand_ids.tolist(),
        vectors=batch.vectors.tolist(),
        payloads=[encode_payload(payload) for payload in batch.payloads],
    )
    collection.connection.call(lambda client: client.upsert(collection.name, points, wait=True))


def _read_ids(collection: VersionCollection) -> NDArray[np.uint64]:
    """The ids [n] of all hands in a collection, rising."""
    pages: list[NDArray[np.uint64]] = [np.empty(0, dtype=np.uint64)]
    offset: models.ExtendedPointId | None = 0
    while offset is not None:

        def scroll(
            client: QdrantClient, offset: models.ExtendedPointId = offset
        ) -> tuple[list[models.Record], models.ExtendedPointId | None]:
            return client.scroll(collection.name, limit=_IDS_PER_PAGE, offset=offset, with_payload=False)

        records, offset = collection.connection.call(scroll)
        pages.append(np.array([record.id for record in records], dtype=np.uint64))
    return np.concatenate(pages)

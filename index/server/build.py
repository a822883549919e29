"""Writing one version into a collection of its own, or more hands into one that is there.

Writing hands into a collection: a few requests under way at once, in bounded memory.

Waiting until a server has linked all hands of a collection into its graph.

A version and further hands, read as one.
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
from index.server.collection import VersionCollection, VersionRecord
from index.server.leases import Claim
from index.server.version import stored_payload
from index.version import IndexVersion

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


_FIRST_POLL_S: Final = 0.1
_LONGEST_POLL_S: Final = 2.0
_QUIET_POLLS: Final = 5
"""Polls in a row that find a server at rest, and nothing changed, before its word is taken for it."""


def await_indexed(collection: VersionCollection, record: VersionRecord, claim: Claim) -> None:
    """Switch indexing on, and return when the collection is green, with all hands linked that ever will be.

    A server may still call itself green in the moment after indexing was switched on, before it looked.
    So green counts at once only where enough hands are linked, and else once it has lasted a while: parts
    below the threshold are never linked, nor are any in the client's local mode. Raises HandsimError when
    the server gives up on it.
    """
    collection.index_from(record.settings.index_above_kb)
    quiet = 0
    before: tuple[int, int] | None = None
    poll_s = _FIRST_POLL_S
    while quiet < _QUIET_POLLS:
        claim.check()
        info = collection.look()
        _check_sound(info, collection.name)
        if info.status == models.CollectionStatus.GREY:
            # A server that was restarted waits for some change before it goes on.
            collection.index_from(record.settings.index_above_kb)
        indexed = info.indexed_vectors_count or 0
        if info.status == models.CollectionStatus.GREEN:
            if indexed >= record.points - _left_alone(info, record):
                return
            now = (indexed, info.segments_count)
            quiet = quiet + 1 if now == before else 1
            before = now
        else:
            quiet, before = 0, None
        collection.connection.pause(poll_s)
        poll_s = min(_LONGEST_POLL_S, poll_s * 1.5)


def _check_sound(info: models.CollectionInfo, collection: str) -> None:
    trouble = info.optimizer_status
    if isinstance(trouble, models.OptimizersStatusOneOf1):
        why = " ".join(trouble.error.split())[:200]
        raise HandsimError(f"the server cannot index {collection} ({why}); see its log, then build again")
    if info.status == models.CollectionStatus.RED:
        raise HandsimError(
            f"the server calls {collection} red: a write failed; see its log, then build again"
        )


def _left_alone(info: models.CollectionInfo, record: VersionRecord) -> int:
    """How many hands at most lie in parts too small to be linked: less than the threshold in each."""
    if info.segments_count <= 1:
        return 0
    per_part = record.settings.index_above_kb * 1024 // (record.dimension * 4) + 1
    return min(record.points // 2, (info.segments_count - 1) * per_part)


def write_version(
    collection: VersionCollection,
    draft: VersionRecord,
    points: PointSource,
    claim: Claim,
    progress: Progress | None = None,
) -> None:
    """Fill the collection of a draft, which may hold some of the hands already, until it is complete.

    Raises HandsimError when hands are in it that are not among the points: it is removed then.
    """
    started = time.perf_counter()
    collection.create_payload_indexes(draft.settings.on_disk)
    checksum = Checksum()
    Upload(collection, claim).run(points, checksum, progress)
    await_indexed(collection, draft, claim)
    held = collection.count()
    if held != draft.points:
        collection.delete()
        raise HandsimError(
            f"{collection.name} held {held:,} hands and not {draft.points:,}: it was begun with others, and "
            f"is removed; `handsim index build` again"
        )
    _complete(collection, draft, checksum, claim, time.perf_counter() - started)


def grow_version(
    collection: VersionCollection,
    record: VersionRecord,
    points: PointSource,
    claim: Claim,
    progress: Progress | None = None,
) -> None:
    """Write further hands into a complete version that readers may have open."""
    started = time.perf_counter()
    collection.note(state="growing")
    checksum = Checksum.parse(record.checksum)
    Upload(collection, claim).run(points, checksum, progress)
    grown = replace(record, points=record.points + len(points))
    await_indexed(collection, grown, claim)
    _complete(collection, grown, checksum, claim, record.build_seconds + time.perf_counter() - started)


def mend_growth(
    collection: VersionCollection, record: VersionRecord, version: IndexVersion, claim: Claim
) -> None:
    """Bring the record of a version up to what it holds, after somebody was killed while it grew."""
    checksum = Checksum()
    points = 0
    for page in version.scroll(with_vectors=True, with_payload=False):
        checksum.add(page)
        points += len(page)
    mended = replace(record, points=points)
    await_indexed(collection, mended, claim)
    _complete(collection, mended, checksum, claim, record.build_seconds)


def _complete(
    collection: VersionCollection, record: VersionRecord, checksum: Checksum, claim: Claim, seconds: float
) -> None:
    claim.check()
    collection.note(
        state="complete",
        points=record.points,
        checksum=checksum.digest,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_seconds=round(seconds, 3),
    )


class Both:
    """All hands of a version, then those of a source: what a version with hands added is written from."""

    def __init__(self, version: IndexVersion, further: PointSource) -> None:
        """The version stays open as long as this is read."""
        self._version = version
        self._further = further

    def __len__(self) -> int:
        return len(self._version) + len(self._further)

    def batches(self) -> Iterator[PointBatch]:
        """All of them, with vectors."""
        yield from self._version.scroll(with_vectors=True)
        yield from self._further.batches()

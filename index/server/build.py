"""Writing one version into a collection of its own, or more hands into one that is there."""

import time
from dataclasses import replace
from datetime import UTC, datetime

from handsim.errors import HandsimError
from index.points import Checksum, PointSource, Progress
from index.server.collection import VersionCollection
from index.server.heart import Claim
from index.server.indexing import await_indexed
from index.server.record import VersionRecord
from index.server.upload import Upload
from index.version import IndexVersion


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

"""Waiting until a server has linked all hands of a collection into its graph."""

from typing import Final

from qdrant_client import models

from handsim.errors import HandsimError
from index.server.collection import VersionCollection
from index.server.heart import Claim
from index.server.record import VersionRecord

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

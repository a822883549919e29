"""Waiting for green, told by a server that is slow, hasty, restarted or in trouble."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from handsim import HandsimError, PoseEmbedding
from index import IndexSettings
from index.server.build import await_indexed
from index.server.collection import VersionCollection, VersionRecord
from index.server.leases import ExclusiveLease, LeaseRegistry
from tests.index.builders import MemoryServer

POINTS = 100_000


@dataclass(frozen=True)
class ToldCollection(VersionCollection):
    """A collection that is doing as it is told, one state after the other, and the last one for ever."""

    states: Sequence[models.CollectionInfo] = ()
    thresholds: list[int] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)

    def read_info(self) -> models.CollectionInfo:
        self.looks.append(0)
        return self.states[min(len(self.looks), len(self.states)) - 1]

    def set_indexing_threshold(self, threshold_kb: int) -> None:
        self.thresholds.append(threshold_kb)


def doing(status: str, indexed: int, segments: int = 1, trouble: str = "") -> models.CollectionInfo:
    client = QdrantClient(":memory:")
    client.create_collection(
        "any", vectors_config=models.VectorParams(size=14, distance=models.Distance.EUCLID)
    )
    optimizers: Any = models.OptimizersStatusOneOf1(error=trouble) if trouble else "ok"
    return client.get_collection("any").model_copy(
        update={
            "status": models.CollectionStatus(status),
            "optimizer_status": optimizers,
            "indexed_vectors_count": indexed,
            "segments_count": segments,
        }
    )


def wait(qdrant: MemoryServer, embedding: PoseEmbedding, *states: models.CollectionInfo) -> ToldCollection:
    record = VersionRecord.draft(embedding, IndexSettings(), POINTS)
    registry = LeaseRegistry(qdrant.connection(), "hands", "memory/hands")
    registry.create(1)
    collection = ToldCollection(qdrant.connection(), "hands-v0001", states)
    with ExclusiveLease(qdrant.connection(), registry, "builder", "memory/hands") as claim:
        await_indexed(collection, record, claim)
    return collection


def test_green_too_early_is_not_believed(qdrant: MemoryServer, small_embedding: PoseEmbedding) -> None:
    states = [doing("green", 0), doing("yellow", 0), doing("yellow", 60_000), doing("green", POINTS)]
    collection = wait(qdrant, small_embedding, *states)
    assert len(collection.looks) == len(states)
    assert collection.thresholds == [256]


def test_a_server_that_waits_for_a_push_gets_one(
    qdrant: MemoryServer, small_embedding: PoseEmbedding
) -> None:
    collection = wait(qdrant, small_embedding, doing("grey", 0), doing("yellow", 0), doing("green", POINTS))
    assert collection.thresholds == [256, 256]


def test_parts_too_small_to_be_linked(qdrant: MemoryServer, small_embedding: PoseEmbedding) -> None:
    # 256 KB are 4,681 vectors of 14 numbers: one part more than the graph may hold that many apart.
    assert len(wait(qdrant, small_embedding, doing("green", POINTS - 4000, segments=2)).looks) == 1
    before = qdrant.clock.now
    assert len(wait(qdrant, small_embedding, doing("green", 0)).looks) == 5
    assert 0.5 < qdrant.clock.now - before < 10


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (
            doing("yellow", 0, trouble="No space left\non device"),
            r"cannot index .* \(No space left on device\)",
        ),
        (doing("red", 0), "calls hands-v0001 red"),
    ],
)
def test_trouble_is_told(
    qdrant: MemoryServer, small_embedding: PoseEmbedding, state: models.CollectionInfo, told: str
) -> None:
    with pytest.raises(HandsimError, match=told) as caught:
        wait(qdrant, small_embedding, state)
    assert "\n" not in str(caught.value)

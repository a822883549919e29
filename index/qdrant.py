"""Points as Qdrant stores and returns them: the same in Qdrant Edge and on a server."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from index.points import PointBatch
from index.query import Neighbors, Payload

StoredPoint = Any
"""A point as either engine returns it. Their types allow every kind of id, vector and payload; those that
`handsim` wrote are an int, a list of floats and a dict."""


def encode_payload(payload: Payload) -> dict[str, Any]:
    """What is written of a hand: a field that is None is left out."""
    return {key: value for key, value in payload.items() if value is not None}


def decode_payload(stored: Mapping[str, Any]) -> Payload:
    """What `encode_payload` wrote."""
    return Payload(
        video=stored["video"],
        source=stored["source"],
        side=stored["side"],
        label=stored.get("label"),
        score=stored["score"],
        frame=stored["frame"],
    )


def to_neighbors(answers: Sequence[Sequence[StoredPoint]], k: int, with_payload: bool) -> Neighbors:
    """The hits of each query, nearest first. Qdrant's score for Euclidean vectors is the distance itself."""
    return Neighbors.gather(
        [([hit.id for hit in hits], [hit.score for hit in hits]) for hits in answers],
        k,
        [[decode_payload(hit.payload) for hit in hits] for hits in answers] if with_payload else None,
    )


def to_batch(
    points: Sequence[StoredPoint], dimension: int, with_vectors: bool, with_payload: bool
) -> PointBatch:
    """Points whose vectors have ``dimension`` numbers."""
    vectors = [point.vector for point in points] if with_vectors else []
    return PointBatch(
        np.array([point.id for point in points], dtype=np.uint64),
        np.array(vectors, dtype=np.float32).reshape(len(points), dimension if vectors else 0),
        [decode_payload(point.payload) for point in points] if with_payload else [],
    )


def to_lookup(points: Sequence[StoredPoint]) -> dict[int, tuple[Sequence[float], Payload]]:
    """Vector and payload by id."""
    return {point.id: (point.vector, decode_payload(point.payload)) for point in points}

"""Queries and their neighbours told to people: as text, as JSON, as a montage."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.queries import Query
from apps.table import table
from handsim.drawing import MontageRow, Tile, montage
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index import Neighbor, Neighbors
from index.neighbors import Payload

_COLUMNS: Final = ("video", "side", "source", "label")


def as_json(query: Query, neighbors: Sequence[Neighbor]) -> dict[str, Any]:
    """One query and its neighbours as plain values."""
    return {
        "query": query.facts,
        "neighbors": [
            {
                "rank": rank,
                "hand_id": format_hand_id(found.hand_id),
                "distance": found.distance,
                **(found.payload or {}),
            }
            for rank, found in enumerate(neighbors, start=1)
        ],
    }


def as_text(query: Query, neighbors: Sequence[Neighbor]) -> str:
    """One query and its neighbours as a table for the terminal."""
    lines = [", ".join(query.title)]
    if not neighbors:
        return "\n".join([*lines, "  no hand of the index meets these conditions"])
    rows = [
        [
            str(rank),
            format_hand_id(found.hand_id),
            f"{found.distance:.4f}",
            *_cells(found.payload),
        ]
        for rank, found in enumerate(neighbors, start=1)
        if found.payload is not None
    ]
    return "\n".join([*lines, table([">rank", "hand", ">distance", *_COLUMNS], rows)])


def hands_as_json(hand_ids: NDArray[np.uint64], payloads: Sequence[Payload]) -> list[dict[str, Any]]:
    """Hands [N] as plain values."""
    return [
        {"hand_id": format_hand_id(hand_id), **payload}
        for hand_id, payload in zip(hand_ids.tolist(), payloads, strict=True)
    ]


def hands_as_text(hand_ids: NDArray[np.uint64], payloads: Sequence[Payload]) -> str:
    """Hands [N] as a table for the terminal."""
    if not len(hand_ids):
        return "no hand of the index meets these conditions"
    rows = [
        [format_hand_id(hand_id), *_cells(payload), f"{payload['score']:.2f}"]
        for hand_id, payload in zip(hand_ids.tolist(), payloads, strict=True)
    ]
    return table(["hand", *_COLUMNS, ">score"], rows)


def _cells(payload: Payload) -> list[str]:
    return [payload["video"], payload["side"], payload["source"], payload["label"] or ""]


def as_montage(
    pool: Pool,
    queries: Sequence[Query],
    answers: Neighbors | Sequence[Sequence[Neighbor]],
    *,
    columns: int | None = None,
) -> Image.Image:
    """A row a query, or more after ``columns``; one that the pool lacks has no picture."""
    return montage(
        [
            MontageRow(
                Tile(query.crop, query.keypoints, query.title),
                [_tile(pool, found) for found in answers[number]],
            )
            for number, query in enumerate(queries)
        ],
        columns=columns,
    )


def _tile(pool: Pool, found: Neighbor) -> Tile:
    if found.hand_id not in pool:
        return Tile(None, None, (f"{found.distance:.3f}", format_hand_id(found.hand_id)))
    row = int(pool.rows(found.hand_id)[0])
    crop = pool.crop(found.hand_id) if pool.has_crop(found.hand_id) else None
    label = f" · {pool.labels[row]}" if pool.labels[row] else ""
    return Tile(crop, pool.keypoints[row], (f"{found.distance:.3f}", f"{pool.videos[row]}{label}"))

"""Answers to take away: a table, and a montage."""

import csv
import io
from collections.abc import Sequence
from typing import Final

from apps.answers import as_montage
from apps.queries import Query
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index import Neighbor

_MONTAGE_COLUMNS: Final = 8
_COLUMNS: Final = ("video", "source", "side", "label", "frame", "score")


def as_csv(neighbors: Sequence[Neighbor]) -> bytes:
    """Rank, hand, distance and what is known of each, UTF-8 with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["rank", "hand_id", "distance", *_COLUMNS])
    for rank, found in enumerate(neighbors, start=1):
        known = dict(found.payload or {})
        cells = [_harmless(known.get(column)) for column in _COLUMNS]
        writer.writerow([rank, format_hand_id(found.hand_id), f"{found.distance:.6f}", *cells])
    return buffer.getvalue().encode()


def _harmless(value: object) -> object:
    """A spreadsheet takes what begins with one of these for a formula, and names come from files."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def as_png(pool: Pool, query: Query, neighbors: Sequence[Neighbor]) -> bytes:
    """The query and its answers as `handsim query --montage` draws them."""
    buffer = io.BytesIO()
    as_montage(pool, [query], [neighbors], columns=_MONTAGE_COLUMNS).save(buffer, "PNG")
    return buffer.getvalue()

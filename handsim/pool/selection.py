"""Some of a pool's hands: by their ids, by what is known of them, or both; and the files that hold ids.

A file of ids is text with ids in hex, CSV or Parquet with a column ``hand_id`` (or ``id``, as
``handsim pool export`` writes it), or JSON as ``handsim query --json`` prints it.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.hand import MAX_HAND_ID, Side, format_hand_id, parse_hand_id
from handsim.pool import layout
from handsim.pool.reader import Pool

ID_COLUMN: Final = "hand_id"
_ID_COLUMNS: Final = (ID_COLUMN, "id")
_NAMED_IDS: Final = 3
"""An error names so many of the ids that it is about."""


@dataclass(frozen=True)
class Selection:
    """Conditions that hands of a pool meet. None sets no condition, an empty tuple admits no hand.

    Raises HandsimError for a score that is not between 0 and 1, and for tracks of less than 1 hand.
    """

    ids: tuple[int, ...] | None = None
    """These hands, in this order; an id that comes twice counts once."""
    sources: tuple[str, ...] | None = None
    """The collections a hand may come from."""
    videos: tuple[str, ...] | None = None
    """The recordings or persons it may come from."""
    sides: tuple[Side, ...] | None = None
    """The subject's own side, before mirroring."""
    labels: tuple[str, ...] | None = None
    """The classes it may have; a hand without a label meets none."""
    min_score: float | None = None
    """The least confidence of the detector, 0 to 1."""
    max_score: float | None = None
    """The greatest confidence of the detector, 0 to 1."""
    min_track: int | None = None
    """The least number of hands, all of this pool, in its track; a hand without a track meets none."""
    max_track: int | None = None
    """The greatest number likewise."""
    among: frozenset[int] | None = None
    """These hands alone, those of a named list, say; ids that the pool does not hold are passed over."""
    distances: Mapping[int, float] = field(default_factory=dict)
    """Id -> distance to what was asked, where the ids are the answer of a query."""

    def __post_init__(self) -> None:
        for name in ("min_score", "max_score"):
            score = getattr(self, name)
            if score is not None and not 0 <= score <= 1:
                raise HandsimError(f"{name} is {score}; it lies between 0 and 1")
        for name in ("min_track", "max_track"):
            hands = getattr(self, name)
            if hands is not None and hands < 1:
                raise HandsimError(f"{name} is {hands}; a track has at least 1 hand")

    @property
    def is_everything(self) -> bool:
        """Whether there is no condition at all."""
        return self == Selection()

    @property
    def names_ids_alone(self) -> bool:
        """Whether it is ids without a further condition."""
        return self.ids is not None and replace(self, ids=None, distances={}) == Selection()

    def rows(self, pool: Pool) -> NDArray[np.int64]:
        """Rows [M] of the hands in the pool: in the order of the ids, else in the order of the pool.

        Ids of removed hands are passed over: a list may be used twice, and an answer be older than a removal.
        Raises NotThereError that names other ids that the pool does not hold.
        """
        is_admitted = self.admits(pool)
        if self.ids is None:
            return np.flatnonzero(is_admitted)
        ids = np.array(list(dict.fromkeys(self.ids)), dtype=np.uint64)
        ids = ids[~layout.are_removed(ids, pool.removed)]
        known = np.isin(ids, pool.hand_ids)
        if not known.all():
            raise _unknown_ids(ids[~known].tolist(), len(ids), pool)
        rows = pool.rows(ids)
        return rows[is_admitted[rows]]

    def admits(self, pool: Pool) -> NDArray[np.bool_]:
        """[N] of which hands all conditions hold, the ids left aside."""
        admitted = np.ones(len(pool), dtype=np.bool_)
        for column, names in (
            (pool.sources, self.sources),
            (pool.videos, self.videos),
            (pool.labels, self.labels),
            (pool.sides, self.sides),
        ):
            if names is not None:
                admitted &= column.is_one_of(names)
        # The pool's scores are in single precision: so are the bounds.
        if self.min_score is not None:
            admitted &= pool.scores >= np.float32(self.min_score)
        if self.max_score is not None:
            admitted &= pool.scores <= np.float32(self.max_score)
        if self.among is not None:
            admitted &= np.isin(pool.hand_ids, np.fromiter(self.among, np.uint64, len(self.among)))
        if self.min_track is not None or self.max_track is not None:
            lengths = pool.track_lengths()
            admitted &= (lengths >= (self.min_track or 1)) & (lengths <= (self.max_track or len(pool)))
        return admitted


def _unknown_ids(unknown: Sequence[int], total: int, pool: Pool) -> NotThereError:
    names = ", ".join(map(format_hand_id, unknown[:_NAMED_IDS]))
    more = f" and {len(unknown) - _NAMED_IDS:,} more" if len(unknown) > _NAMED_IDS else ""
    return NotThereError(
        f"{len(unknown):,} of {total:,} hands are not in {pool.path}: {names}{more}; leave them out"
    )


def parse_ids(text: str) -> Selection:
    """The selection that ``--ids`` names: a file that holds ids (see the module), or ids with commas between.

    ``-`` is standard input, with text or JSON. Raises NotThereError for what is none of these, HandsimError
    for a file without ids.
    """
    if text == "-":
        return _read_text("standard input", sys.stdin.read())
    if os.path.isfile(text):  # Path.is_file raises for a text that is too long for a name
        return read_ids(Path(text))
    try:
        return Selection(ids=tuple(parse_hand_id(word.strip()) for word in text.split(",")))
    except HandsimError as error:
        raise NotThereError(f"{text!r} is neither a file nor hand ids: {error}") from error


def read_ids(path: Path) -> Selection:
    """The hands that a file names (see the module), with their distances where it is a query's answer.

    Raises HandsimError, with the line or entry, for what is not an id, and for a file that names none.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        text = "" if is_parquet else path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HandsimError(f"{path} cannot be read as hand ids: {error}") from error
    if is_parquet:
        return _require_any(path, Selection(ids=tuple(_read_parquet(path))))
    return _read_text(path, text)


def _read_text(origin: Path | str, text: str) -> Selection:
    if text.lstrip()[:1] in ("[", "{"):
        return _require_any(origin, _read_json(origin, text))
    return _require_any(origin, Selection(ids=tuple(_read_lines(origin, text))))


def _require_any(origin: Path | str, selection: Selection) -> Selection:
    if not selection.ids:
        raise HandsimError(f"{origin} names no hand; give ids in hex, one a line, or under {ID_COLUMN}")
    return selection


def _read_lines(origin: Path | str, text: str) -> Iterator[int]:
    """The ids of CSV with a heading, or of lines that hold nothing else."""
    reader = csv.reader(io.StringIO(text))
    column: int | None = None
    try:
        for number, row in enumerate(reader):
            if number == 0 and (name := _id_column(row)) is not None:
                column = row.index(name)
                continue
            if column is None:  # an id beside another one is not to be lost
                values = [value for value in row if value.strip()]
            else:
                values = (row[column : column + 1] or [""]) if row else []
            for value in values:
                yield _parse(origin, f"line {reader.line_num}", value.strip())
    except csv.Error as error:
        raise HandsimError(f"{origin} cannot be read as hand ids: {error}") from error


def _id_column(names: Sequence[str]) -> str | None:
    return next((name for name in _ID_COLUMNS if name in names), None)


def _read_parquet(path: Path) -> Iterator[int]:
    try:
        names = pq.read_schema(path).names
        name = _id_column(names)
        if name is None:
            raise HandsimError(f"{path} has no column {ID_COLUMN} (it has {', '.join(names)}); name it so")
        values = pq.read_table(path, columns=[name])[name].to_pylist()
    except pa.ArrowException as error:
        raise HandsimError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return (_parse(path, f"row {number}", value) for number, value in enumerate(values, start=1))


def _read_json(origin: Path | str, text: str) -> Selection:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HandsimError(f"{origin} cannot be read as JSON: {error}") from error
    ids: list[int] = []
    distances: dict[int, float] = {}
    for number, entry in enumerate(_find_hands(content), start=1):
        ids.append(_parse(origin, f"hand {number}", entry[ID_COLUMN]))
        if isinstance(entry.get("distance"), float):
            distances.setdefault(ids[-1], entry["distance"])
    return Selection(ids=tuple(ids), distances=distances)


def _find_hands(content: Any) -> Iterable[dict[str, Any]]:
    """The objects with an id, in their order; what was asked for (``query``) is not part of the answer."""
    if isinstance(content, dict) and ID_COLUMN in content:
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            if key != "query":
                yield from _find_hands(value)
    elif isinstance(content, list):
        for value in content:
            yield from _find_hands(value)


def _parse(origin: Path | str, place: str, value: object) -> int:
    """An id in hex, or as the number that Parquet files hold."""
    if isinstance(value, int) and 0 <= value <= MAX_HAND_ID:
        return value
    try:
        return parse_hand_id(str(value))
    except HandsimError as error:
        raise HandsimError(f"{origin}, {place}: {error}") from error

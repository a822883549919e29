"""What the records of a pool say of the work that was done, and of the files behind it."""

from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from handsim.ingest.items import Item
from handsim.pool import layout
from handsim.pool.writer import FAILURES, FileRecord, ItemRecord, Skip

_NO_HAND: Final = "no hand"
_TRACKS: Final = "tracks"
"""The one column that is read when it is asked for: kilobytes for each stretch of a video."""
HEAD_DIGITS: Final = 32
"""The hexadecimal digits of a file's digest that stand for its beginning; see `handsim.ingest.recordings`."""


class KnownItems:
    """The records of a pool, each a row; of equal keys the last one counts.

    Columns stay in Arrow's memory: a pool may have a record for each of millions of pictures.
    """

    def __init__(self, pool: Path | None = None) -> None:
        """Read them; a pool that is not there has none. Raises HandsimError for a damaged part."""
        self._pool, self._parts = pool, list[int]()
        names = [name for name in layout.ITEMS_SCHEMA.names if name != _TRACKS]
        tables = [pa.Table.from_batches([], pa.schema([layout.ITEMS_SCHEMA.field(name) for name in names]))]
        if pool is not None and not layout.can_begin_at(pool):
            with layout.reading(pool) as parts:
                tables += [layout.read_columns(part, layout.ITEMS_FILE, names) for part in parts]
                self._parts = [layout.part_number(part) for part in parts]
        self._starts = np.cumsum([len(table) for table in tables])
        self._table = pa.concat_tables(tables).combine_chunks()
        self._rows: dict[int, int] = dict(
            zip(self._table["key"].to_pylist(), range(len(self._table)), strict=True)
        )
        self.pictures: NDArray[np.int32] = _to_numpy(self._table["pictures"], np.int32)
        self.hands: NDArray[np.int32] = _to_numpy(self._table["hands"], np.int32)
        self._is_former: NDArray[np.bool_] = _to_numpy(self._table["hand_ids"].is_null(), np.bool_)
        self.has_former = bool(self._is_former.any())
        """Whether earlier versions recorded some of it."""
        self._has_skips, self._has_remarks = (
            _to_numpy(pc.list_value_length(self._table[name]), np.int32) > 0  # NaN where it is null
            for name in ("skipped", "remarks")
        )
        self._sizes = frozenset(self._file_column("size").drop_null().to_pylist())

    def _file_column(self, name: str) -> pa.ChunkedArray:
        return pc.struct_field(self._table["file"], name)

    def find(self, item: Item) -> int | None:
        """The row of an item that was done before and did not fail."""
        keys = (item.keys.key, *item.keys.former) if self.has_former else (item.keys.key,)
        for key in keys:
            row = self._rows.get(key)
            if row is not None and not any(skip.reason in FAILURES for skip in self.skips(row)):
                return row
        return None

    def is_worth_another_look(self, row: int, retry_failed: bool) -> bool:
        """Whether a record's work gave nothing, or not all, and may give more now.

        What an earlier version could not read may be read now: it is looked at again once.
        """
        could_not_read = any(skip.reason != _NO_HAND for skip in self.skips(row))
        if retry_failed:
            return could_not_read or not self.hands[row]
        return could_not_read and self.is_former(row)

    def is_done(self, item: Item, retry_failed: bool) -> bool:
        """Whether an earlier run did an item, and need not look at it again."""
        row = self.find(item)
        return row is not None and not self.is_worth_another_look(row, retry_failed)

    def is_former(self, row: int) -> bool:
        """Whether an earlier version recorded it, without the file and the ids of its hands."""
        return bool(self._is_former[row])

    def record(self, row: int) -> ItemRecord:
        """All of a record."""
        return ItemRecord(
            int(self._table["key"][row].as_py()),
            int(self.pictures[row]),
            int(self.hands[row]),
            tuple(self.skips(row)),
            tuple(self.remarks(row)),
            None if self.is_former(row) else tuple(self.hand_ids(row)),
            self.file(row),
            self.tracks(row),
        )

    def skips(self, row: int) -> list[Skip]:
        """What could not be used."""
        return [Skip(**skip) for skip in self._table["skipped"][row].as_py()] if self._has_skips[row] else []

    def remarks(self, row: int) -> list[Skip]:
        """What was wrong with what was used all the same."""
        return (
            [Skip(**skip) for skip in self._table["remarks"][row].as_py()] if self._has_remarks[row] else []
        )

    def hand_ids(self, row: int) -> list[int]:
        """The hands that were found, where that was recorded."""
        ids: list[int] | None = self._table["hand_ids"][row].as_py()
        return ids or []

    def file(self, row: int) -> FileRecord | None:
        """The file, where that was recorded."""
        fields = self._table["file"][row].as_py()
        return None if fields is None else FileRecord(**fields)

    def tracks(self, row: int) -> str | None:
        """With what the tracks of the next stretch go on, where that was recorded; read from the disk."""
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        assert self._pool is not None
        with layout.reading(self._pool) as parts:
            (part,) = (part for part in parts if layout.part_number(part) == self._parts[place])
            column = layout.read_columns(part, layout.ITEMS_FILE, [_TRACKS])[_TRACKS]
        tracks: str | None = column[row - int(self._starts[place])].as_py()
        return tracks

    def has_size(self, size: int) -> bool:
        """Whether a file of this many bytes is among them: only then can one have the same content."""
        return size in self._sizes

    def files_of_content(self, content: str) -> dict[int, FileRecord]:
        """The rows with files of this content, and these files."""
        rows = self._rows_of_content.get(int(content[:15], 16), [])
        files = {row: self.file(row) for row in rows}
        return {row: file for row, file in files.items() if file is not None and file.content == content}

    def former_names(self, source: str, file: str) -> tuple[str, str | None] | None:
        """Video and label of the hands that earlier versions found in a file, by its name for people."""
        return self._former_names.get(hash((source, file))) if self.has_former else None

    @cached_property
    def _former_names(self) -> dict[int, tuple[str, str | None]]:
        """By hashes: a pool of millions of hands has as many files."""
        shared: dict[tuple[str, str | None], tuple[str, str | None]] = {}
        names: dict[int, tuple[str, str | None]] = {}
        assert self._pool is not None
        with layout.reading(self._pool) as parts:
            for part in parts:
                columns = ["source", "file", "video", "label"]
                table = layout.read_columns(part, layout.HANDS_FILE, columns).to_pydict()
                for source, file, video, label in zip(*table.values(), strict=True):
                    names[hash((source, file))] = shared.setdefault((video, label), (video, label))
        return names

    @cached_property
    def _rows_of_content(self) -> dict[int, list[int]]:
        rows = defaultdict(list)
        for row, content in enumerate(self._file_column("content").to_pylist()):
            if content is not None:
                rows[int(content[:15], 16)].append(row)
        return rows

    @cached_property
    def recordings(self) -> dict[str, list[FileRecord]]:
        """The videos, under the first `HEAD_DIGITS` of their digests."""
        is_video = pc.not_equal(self._file_column("content"), self._file_column("digest"))
        videos: dict[tuple[bytes, str], FileRecord] = {}
        for row in np.flatnonzero(_to_numpy(is_video, np.bool_)).tolist():  # None where it is null
            file = self.file(row)
            if file is not None:
                videos[file.path, file.content] = file
        by_head = defaultdict(list)
        for file in videos.values():
            by_head[file.digest[:HEAD_DIGITS]].append(file)
        return by_head


def _to_numpy(column: pa.ChunkedArray, dtype: type[np.generic]) -> NDArray[Any]:
    """A column's values. Where it has none, pyarrow would load pandas: a second, before any worker begins."""
    chunks = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([np.empty(0, dtype), *chunks])

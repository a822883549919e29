"""Reading a pool: the keypoints and columns of all hands in memory, each crop read when it is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from handsim.english import pluralize
from handsim.errors import NotThereError
from handsim.geometry import CROP_ENLARGEMENT, rescale_keypoints
from handsim.hand import SIDES, Hand, format_hand_id
from handsim.images import encode_jpeg
from handsim.pool import layout
from handsim.pool.crops import TarFiles, decode_central
from handsim.skeleton import JOINT_COUNT

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Categorical:
    """N strings or missing values as integer codes: two million rows of repeated strings take 8 MB."""

    codes: NDArray[np.int32]
    """[N] index into ``names``; -1 where there is no value. Equal strings have equal codes."""
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[str | None]) -> "Categorical":
        """Encode values; codes count up in the order of first appearance."""
        known: dict[str, int] = {}
        codes = [-1 if value is None else known.setdefault(value, len(known)) for value in values]
        return cls(np.array(codes, dtype=np.int32), tuple(known))

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> "Categorical":
        """Encode a column of strings, dictionary-encoded already or not."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        encoded = encoded.unify_dictionaries().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # pyarrow leaves it chunked if there is nothing to combine
            encoded = pa.concat_arrays(encoded.chunks)
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return cls(codes, tuple(encoded.dictionary.to_pylist()))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str | None:
        code = int(self.codes[row])
        return None if code < 0 else self.names[code]

    def is_one_of(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """[N] of which rows have one of the names."""
        wanted = set(names)
        is_wanted = np.array([name in wanted for name in self.names] + [False])  # the last: code -1
        return is_wanted[self.codes]

    def values(self, rows: Sequence[int] | NDArray[np.integer] | slice = slice(None)) -> list[str | None]:
        """The strings at ``rows``."""
        return [None if code < 0 else self.names[code] for code in self.codes[rows].tolist()]


_NUMBERS: Final = ("hand_id", "frame", "score", "crop_offset", "crop_bytes", "track")
_STRINGS: Final = ("source", "video", "label", "side")
_DETAILS: Final = (
    *("box_px", "file", "external_id", "external_positives"),
    *("joint_scores", "joints_mm", "visible"),
)
"""Read when they are asked for."""
_BATCH_HANDS: Final = 1024
_LOADING_THREADS: Final = 4


class Pool:
    """The published hands of a pool when it was opened: N hands in the order in which they were written.

    Threads and forked processes may share it.
    """

    path: Path
    crop_size_px: int
    """Side of every crop."""
    crop_enlargement: float
    """Side of every stored picture, in longer sides of the box around the hand's joints: as much as views for
    training may show. All else that a pool gives of a hand is that of SiMHand's crop, 1.3 times as long."""
    hand_ids: NDArray[np.uint64]
    """[N], unique."""
    keypoints: NDArray[np.float32]
    """[N, 21, 3] in the crop's unit square, as right hands; NaN where a joint is unlabelled; see `Hand`."""
    is_complete: NDArray[np.bool_]
    """[N] whether all joints of a hand are labelled."""
    has_side: NDArray[np.bool_]
    """[N] whether the hand's side is known; one of unknown side is as it was seen, mirrored or not."""
    sources: Categorical
    """[N] the collection each hand comes from."""
    videos: Categorical
    """[N] the recording or person each hand must not be paired within."""
    labels: Categorical
    """[N] the class people gave it, where they did."""
    sides: Categorical
    """[N] the subject's own side, before mirroring: a `Side`."""
    is_left: NDArray[np.bool_]
    """[N] whether that is the left one; False where it is unknown."""
    scores: NDArray[np.float32]
    """[N] the detector's confidence."""
    frames: NDArray[np.int64]
    """[N] index of the frame in its video."""
    tracks: NDArray[np.uint64]
    """[N] the track of each hand, as `Hand.track`; 0 where it is in none."""
    removed: NDArray[np.uint64]
    """Ids of hands that somebody removed, rising; they are not among the N."""
    tars: TarFiles
    """The parts that these hands were read from, and the files of their crops."""

    @classmethod
    def open(cls, path: str | Path) -> "Pool":
        """Open a pool, which may be empty; raises NotThereError, or HandsimError if a part is damaged."""
        return cls(Path(path))

    def __init__(self, path: Path) -> None:
        """See `open`."""
        self.path = path
        self.crop_size_px = layout.read_pool_json(path)
        self.crop_enlargement = layout.read_crop_enlargement(path)
        self.tars = TarFiles(path)
        self._parts = self.tars.parts
        self._identities = _identities(path, self._parts)
        self.removed = layout.read_removed(path)
        counts = [layout.hand_count(part, self.removed) for part in self._parts]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.keypoints = np.empty((int(self._starts[-1]), JOINT_COUNT, 3), dtype=np.float32)
        with ThreadPoolExecutor(_LOADING_THREADS) as threads:
            tables = list(threads.map(self._load_part, range(len(self._parts))))
        empty = layout.HANDS_SCHEMA.empty_table().select([*_NUMBERS, *_STRINGS, "joint_mask"])
        table = pa.concat_tables(tables or [empty])
        self.hand_ids, self.frames, self.scores, self._crop_offsets, self._crop_bytes, self.tracks = (
            table[name].fill_null(0).to_numpy() for name in _NUMBERS
        )
        self.sources, self.videos, self.labels, self.sides = (
            Categorical.of_column(table[name]) for name in _STRINGS
        )
        self.is_left, self.has_side = self.sides.is_one_of(["left"]), self.sides.is_one_of(SIDES)
        self.is_complete = table["joint_mask"].is_null().to_numpy()
        self._by_id = np.argsort(self.hand_ids)
        self._sorted_ids = self.hand_ids[self._by_id]

    def _load_part(self, number: int) -> pa.Table:
        columns = [*_NUMBERS, *_STRINGS, "joint_mask", "keypoints"]
        table = layout.read_hands(self._parts[number], columns, self.removed, _STRINGS)
        rows = slice(int(self._starts[number]), int(self._starts[number + 1]))
        flat = table["keypoints"].combine_chunks().flatten().to_numpy()
        stored = flat.reshape(-1, JOINT_COUNT, 3)
        self.keypoints[rows] = rescale_keypoints(stored, self.crop_enlargement, CROP_ENLARGEMENT)
        return table.drop_columns("keypoints")

    def is_current(self) -> bool:
        """Whether these are the hands that lie there now; False once any was added, changed or removed."""
        try:
            return self._identities == _identities(self.path, layout.published_parts(self.path))
        except OSError:
            return False

    def __len__(self) -> int:
        return len(self.hand_ids)

    def __contains__(self, hand_id: int) -> bool:
        place = int(np.searchsorted(self._sorted_ids, np.uint64(hand_id)))
        return place < len(self) and int(self._sorted_ids[place]) == hand_id

    def rows(self, hand_ids: ArrayLike) -> NDArray[np.int64]:
        """Rows [M] of hand ids [M]; raises NotThereError that names the first id the pool does not hold."""
        ids = np.atleast_1d(np.asarray(hand_ids, dtype=np.uint64))
        places = np.searchsorted(self._sorted_ids, ids)
        is_here = places < len(self)
        is_here[is_here] = self._sorted_ids[places[is_here]] == ids[is_here]
        if not is_here.all():
            unknown = int(ids[~is_here][0])
            name = format_hand_id(unknown)
            if self.was_removed(unknown):
                raise NotThereError(
                    f"hand {name} was removed from {self.path}; `handsim pool restore` takes that back"
                )
            raise NotThereError(f"no hand {name} in {self.path} (it holds {pluralize(len(self), 'hand')})")
        return self._by_id[places]

    def was_removed(self, hand_id: int) -> bool:
        """Whether somebody removed that hand: an index that is older may hold it still."""
        return bool(layout.are_removed(np.array([hand_id], dtype=np.uint64), self.removed)[0])

    def read_files(self) -> Categorical:
        """[N] where each hand came from, as `Hand.file`; it is read from the disk."""
        empty = layout.HANDS_SCHEMA.empty_table().select(["file"])
        tables = [layout.read_hands(part, ["file"], self.removed) for part in self._parts]
        return Categorical.of_column(pa.concat_tables(tables or [empty])["file"])

    def read_joints_mm(self) -> NDArray[np.float32]:
        """[N, 21, 3] true joints, as `Hand.joints_mm`, read from the disk; all NaN of hands without."""
        joints = np.full((len(self), JOINT_COUNT * 3), np.nan, dtype=np.float32)
        self._read_truth("joints_mm", joints)
        return joints.reshape(len(self), JOINT_COUNT, 3)

    def read_visible(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[N, 21] as `Hand.visible`, and [N] of which hands that is known; read from the disk."""
        visible = np.zeros((len(self), JOINT_COUNT), dtype=np.bool_)
        return visible, self._read_truth("visible", visible)

    def _read_truth(self, column: str, into: NDArray[Any]) -> NDArray[np.bool_]:
        """Fill the rows [N, F] of hands that have the column; returns which [N] do."""
        is_known = np.zeros(len(self), dtype=np.bool_)
        for number, part in enumerate(self._parts):
            values = layout.read_hands(part, [column], self.removed)[column].combine_chunks()
            rows = slice(int(self._starts[number]), int(self._starts[number + 1]))
            known = values.is_valid().to_numpy(zero_copy_only=False)
            is_known[rows] = known
            flat = values.flatten().to_numpy(zero_copy_only=False)
            into[rows][known] = flat.reshape(int(known.sum()), into.shape[1])
        return is_known

    def to_pandas(self) -> "DataFrame":
        """A table with a row for each hand, in the order of `hand_ids`; the index holds ids as 16 hex digits.

        Columns: source, video, side, label, frame, score, file (see `Hand`), track (16 hex digits, or none)
        and has_crop. Raises NotThereError where pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            if error.name != "pandas":
                raise
            raise NotThereError(
                "a table of a pool needs pandas, which is not installed; `pip install pandas`"
            ) from error
        columns = {
            name: pd.Categorical.from_codes(column.codes, column.names)
            for name, column in (
                *(("source", self.sources), ("video", self.videos)),
                *(("side", self.sides), ("label", self.labels)),
            )
        }
        ids, tracks = (
            [format_hand_id(number) if number else None for number in numbers.tolist()]
            for numbers in (self.hand_ids, self.tracks)
        )
        return pd.DataFrame(
            {
                **columns,
                "frame": self.frames,
                "score": self.scores,
                "file": self.read_files().values(),
                "track": tracks,
                "has_crop": self.has_crops,
            },
            index=pd.Index(ids, name="hand"),
        )

    def track_lengths(self) -> NDArray[np.int64]:
        """[N] how many hands of the pool are in the track of each hand; 0 where it is in none."""
        _, track, counts = np.unique(self.tracks, return_inverse=True, return_counts=True)
        return np.where(self.tracks > 0, counts[track], 0)

    def hand(self, hand_id: int) -> Hand:
        """Everything known of one hand. Raises NotThereError when the pool does not hold it."""
        return next(self.hands(self.rows(hand_id)))

    def hands(self, rows: NDArray[np.int64]) -> Iterator[Hand]:
        """Everything known of the hands at rows [M], in their order; each part is read once."""
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(parts, kind="stable")
        tables = [
            layout.read_hands(self._parts[part], list(_DETAILS), self.removed).take(
                rows[parts == part] - self._starts[part]
            )
            for part in np.unique(parts).tolist()
        ]
        if not tables:
            return
        details = pa.concat_tables(tables).take(np.argsort(order))
        places = iter(rows.tolist())
        for batch in details.to_batches(max_chunksize=_BATCH_HANDS):
            for fields, row in zip(batch.to_pylist(), places, strict=False):
                scores, joints, visible = (fields[name] for name in ("joint_scores", "joints_mm", "visible"))
                yield Hand(
                    hand_id=int(self.hand_ids[row]),
                    source=self.sources[row] or "",
                    video=self.videos[row] or "",
                    frame=int(self.frames[row]),
                    side="left" if self.is_left[row] else "right" if self.has_side[row] else "unknown",
                    score=float(self.scores[row]),
                    box_px=np.array(fields["box_px"], dtype=np.float32),
                    keypoints=self.keypoints[row],
                    label=self.labels[row],
                    file=fields["file"],
                    external_id=fields["external_id"],
                    external_positives=tuple(fields["external_positives"]),
                    joint_scores=None if scores is None else np.array(scores, dtype=np.float32),
                    track=int(self.tracks[row]) or None,
                    crop_enlargement=self.crop_enlargement,
                    joints_mm=None if joints is None else np.array(joints, np.float32).reshape(-1, 3),
                    visible=None if visible is None else np.array(visible, dtype=np.bool_),
                )

    @property
    def is_usable(self) -> NDArray[np.bool_]:
        """[N] of which hands the whole pose is known, all joints and the side: what training takes."""
        return self.is_complete & self.has_side

    def describe_unknown_sides(self) -> str | None:
        """That hands of unknown side are left out, and what helps; None where there are none."""
        if self.has_side.all():
            return None
        hands = pluralize(int((~self.has_side).sum()), "hand of unknown side is", "hands of unknown side are")
        return f"{hands} left out; `handsim pool relabel --side unknown --set-side left` gives such a side"

    @property
    def has_crops(self) -> NDArray[np.bool_]:
        """[N] of which hands the pool holds the picture, not the keypoints alone."""
        return np.asarray(self._crop_offsets >= 0)

    def has_crop(self, hand_id: int) -> bool:
        """Whether the pool holds the hand's picture, not its keypoints alone."""
        return bool(self._crop_offsets[self.rows(hand_id)[0]] >= 0)

    def crop_jpeg(self, hand_id: int) -> bytes:
        """The hand's crop as a square JPEG of ``crop_size_px``, as seen for a right hand."""
        if self.crop_enlargement == CROP_ENLARGEMENT:
            return self.stored_jpeg(hand_id)
        return encode_jpeg(self.crop(hand_id))

    def stored_jpeg(self, hand_id: int) -> bytes:
        """What is stored of it: the crop, and in most pools what is around it (`crop_enlargement`)."""
        row = int(self.rows(hand_id)[0])
        if self._crop_offsets[row] < 0:
            raise NotThereError(f"hand {format_hand_id(hand_id)} has keypoints but no picture in {self.path}")
        number, _ = self._locate(row)
        return self.tars.read(number, int(self._crop_offsets[row]), int(self._crop_bytes[row]))

    def crop(self, hand_id: int) -> NDArray[np.uint8]:
        """The hand's crop, RGB [crop_size_px, crop_size_px, 3], as seen for a right hand."""
        return decode_central(self.stored_jpeg(hand_id), hand_id, self.crop_enlargement)

    def close(self) -> None:
        """Close the files and let others delete what was rewritten since; the arrays stay usable."""
        self.tars.close()

    def _locate(self, row: int) -> tuple[int, int]:
        """The part that holds a row, and the row's number in it."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return number, row - int(self._starts[number])


def _identities(pool: Path, parts: Sequence[Path]) -> list[tuple[Path, int, int]]:
    """What distinguishes parts from others of the same name: each is written once and never changed."""
    removed = pool / layout.REMOVED_FILE
    statuses = [(path, path.stat()) for path in [*parts, *([removed] if removed.exists() else [])]]
    return [(path, status.st_ino, status.st_mtime_ns) for path, status in statuses]

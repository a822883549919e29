"""Predictions of a split: in arrays and in Parquet (as FreiHAND's server takes them: `submission`).

`PredictedHands` and `TrueHands` are the hands of a split in arrays, all as right hands (see
`training.datasets.record`), joints in the order of `handsim.skeleton`.

``predictions.parquet`` has a row for each hand: ``sample_id``, ``side`` (the subject's own hand),
``joints_3d_mm`` (63 numbers, the 21 joints' x, y, z relative to the wrist), ``camera_3d_mm`` (63, in the
camera frame; may be null, or left out), ``keypoints_2d_px`` (42, x and y in the image) and ``confidence``
(21). The schema's metadata says where the predictions come from.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT


@dataclass(frozen=True, eq=False)
class PredictedHands:
    """The predictions of N hands."""

    sample_ids: tuple[str, ...]
    """[N] as in the dataset."""
    sides: tuple[Side, ...]
    """[N] the subjects' own hands."""
    joints_3d_mm: NDArray[np.float32]
    """[N, 21, 3] relative to the wrist, in the camera's axes: x right, y down, z into the image."""
    camera_3d_mm: NDArray[np.float32] | None
    """[N, 21, 3] in the camera frame; None where the wrists' positions are unknown."""
    keypoints_2d_px: NDArray[np.float32]
    """[N, 21, 2] in the image's pixels; all NaN where unknown."""
    confidence: NDArray[np.float32]
    """[N, 21] from 0 to 1; NaN where unknown."""
    vertices_mm: NDArray[np.float32] | None = None
    """[N, V, 3] of the meshes in the camera frame; None where there are joints alone."""

    def __len__(self) -> int:
        return len(self.sample_ids)

    def in_order_of(self, sample_ids: Sequence[str], origin: str) -> "PredictedHands":
        """The same predictions in the order of a split's samples.

        Raises HandsimError, with ``origin`` (where they come from), unless there is exactly one for each.
        """
        rows = {name: row for row, name in enumerate(self.sample_ids)}
        missing = next((name for name in sample_ids if name not in rows), None)
        remedy = "predict the split again, or name the right one with --dataset and --split"
        counts = f"{origin} has predictions for {len(self):,} hands and the split has {len(sample_ids):,}"
        if missing is not None:
            raise HandsimError(f"{counts}; the first one without is {missing}: {remedy}")
        if len(self) != len(sample_ids):
            twice = next((name for name, count in Counter(self.sample_ids).items() if count > 1), None)
            unknown = set(self.sample_ids) - set(sample_ids)
            problem = f"{twice} is there twice" if twice else f"{min(unknown)} is none of its hands"
            raise HandsimError(f"{counts}; {problem}: {remedy}")
        return self._take(np.array([rows[name] for name in sample_ids], dtype=np.int64))

    def only(self, sample_ids: set[str]) -> "PredictedHands":
        """Those of the given hands."""
        rows = [row for row, name in enumerate(self.sample_ids) if name in sample_ids]
        return self._take(np.array(rows, dtype=np.int64))

    def _take(self, order: NDArray[np.int64]) -> "PredictedHands":
        return PredictedHands(
            tuple(self.sample_ids[row] for row in order.tolist()),
            tuple(self.sides[row] for row in order.tolist()),
            self.joints_3d_mm[order],
            None if self.camera_3d_mm is None else self.camera_3d_mm[order],
            self.keypoints_2d_px[order],
            self.confidence[order],
            None if self.vertices_mm is None else self.vertices_mm[order],
        )


@dataclass(frozen=True, eq=False)
class TrueHands:
    """The truth of N hands."""

    sample_ids: tuple[str, ...]
    """[N] as in the dataset."""
    subjects: tuple[str, ...]
    """[N] whose hands they are, as far as the dataset says."""
    joints_3d_mm: NDArray[np.float32]
    """[N, 21, 3] in the camera frame; anything where not ``valid``."""
    keypoints_2d_px: NDArray[np.float32]
    """[N, 21, 2] in the image's pixels; anything where not ``valid``."""
    valid: NDArray[np.bool_]
    """[N, 21] which joints are annotated."""
    in_picture: NDArray[np.bool_]
    """[N] whether enough of each hand lies in its picture (`lies_in_picture`)."""
    vertices_mm: NDArray[np.float32] | None = None
    """[N, V, 3] of the meshes in the camera frame; None where they are unknown or nobody asks for them."""

    def __len__(self) -> int:
        return len(self.sample_ids)


_METADATA_KEY: Final = b"handsim"
_WIDTHS: Final = {"joints_3d_mm": 3, "camera_3d_mm": 3, "keypoints_2d_px": 2, "confidence": 1}
"""Column -> numbers for each joint."""
_OPTIONAL: Final = "camera_3d_mm"

SCHEMA: Final = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("side", pa.string(), nullable=False),
        *(
            pa.field(name, pa.list_(pa.float32(), JOINT_COUNT * width), nullable=name == _OPTIONAL)
            for name, width in _WIDTHS.items()
        ),
    ]
)


def write_predictions(path: Path, predicted: PredictedHands, metadata: Mapping[str, Any]) -> None:
    """Write predictions, without meshes, and ``metadata`` on where they come from.

    The file appears whole or not at all.
    """
    columns: list[pa.Array] = [pa.array(predicted.sample_ids), pa.array(predicted.sides)]
    for name, width in _WIDTHS.items():
        numbers: NDArray[np.float32] | None = getattr(predicted, name)
        kind = SCHEMA.field(name).type
        if numbers is None:
            columns.append(pa.nulls(len(predicted), kind))
        else:
            flat = pa.array(numbers.reshape(-1), pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(flat, JOINT_COUNT * width))
    schema = SCHEMA.with_metadata({_METADATA_KEY: json.dumps(dict(metadata))})
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd")


def read_predictions(path: Path) -> tuple[PredictedHands, dict[str, Any]]:
    """Read the predictions of a file, and its metadata on where they come from.

    Raises NotThereError where there is no file, HandsimError for one that is not Parquet or lacks a column,
    for lists of another length, and for missing numbers.
    """
    if not path.is_file():
        raise NotThereError(f"there are no predictions {path}; leave --predictions out to predict now")
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise HandsimError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0][:120]}); predict again"
        ) from error
    for name in SCHEMA.names:
        if name not in table.column_names and name != _OPTIONAL:
            raise HandsimError(
                f"{path} has no column {name}; predictions have {', '.join(SCHEMA.names)}, "
                f"as `handsim evaluate pose` writes them"
            )
    sides = tuple(table["side"].to_pylist())
    if not set(sides) <= set(SIDES):
        raise HandsimError(f"{path} has a side {(set(sides) - set(SIDES)).pop()!r}; it is left or right")
    in_camera = _OPTIONAL in table.column_names and not table[_OPTIONAL].null_count
    predicted = PredictedHands(
        tuple(table["sample_id"].to_pylist()),
        sides,
        _numbers(table, "joints_3d_mm", path),
        _numbers(table, _OPTIONAL, path) if in_camera else None,
        _numbers(table, "keypoints_2d_px", path),
        _numbers(table, "confidence", path)[..., 0],
    )
    return predicted, json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))


def _numbers(table: pa.Table, name: str, path: Path) -> NDArray[np.float32]:
    """A column as [N, 21, width]."""
    width = _WIDTHS[name]
    column = table[name].combine_chunks()
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise HandsimError(
            f"column {name} of {path} is of type {kind}; it holds lists of {JOINT_COUNT * width} floats"
        )
    expected = JOINT_COUNT * width
    lengths = set(pc.list_value_length(column).to_pylist())
    if not lengths <= {expected}:
        wrong = next(length for length in lengths if length != expected)
        raise HandsimError(
            f"column {name} of {path} has a list of {wrong or 'no'} numbers; each holds {expected}, "
            f"{width} for each of the {JOINT_COUNT} joints"
        )
    flat: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return flat.reshape(-1, JOINT_COUNT, width)

"""Predictions in Parquet: a row a hand, readable with any tool.

Columns: ``sample_id``, ``side`` (the subject's own hand; all numbers are told as for right hands, those of
left ones in the mirrored picture), ``joints_3d_mm`` (63 numbers, the 21 joints' x, y, z relative to the
wrist), ``camera_3d_mm`` (63, in the camera frame; may be null, or left out), ``keypoints_2d_px`` (42, x and y
in the picture) and ``confidence`` (21). Joints are in the order of `handsim.skeleton`. The schema's metadata
says where they come from.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.hand import SIDES
from handsim.skeleton import JOINT_COUNT
from training.evaluation.hands import PredictedHands

_FACTS: Final = b"handsim"
_WIDTHS: Final = {"joints_3d_mm": 3, "camera_3d_mm": 3, "keypoints_2d_px": 2, "confidence": 1}
"""Column -> numbers of each joint."""
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


def write_predictions(path: Path, predicted: PredictedHands, facts: Mapping[str, Any]) -> None:
    """Write them, and ``facts`` of where they come from; the file appears whole or not at all."""
    columns: list[pa.Array] = [pa.array(predicted.sample_ids), pa.array(predicted.sides)]
    for name, width in _WIDTHS.items():
        numbers: NDArray[np.float32] | None = getattr(predicted, name)
        kind = SCHEMA.field(name).type
        if numbers is None:
            columns.append(pa.nulls(len(predicted), kind))
        else:
            flat = pa.array(numbers.reshape(-1), pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(flat, JOINT_COUNT * width))
    schema = SCHEMA.with_metadata({_FACTS: json.dumps(dict(facts))})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_predictions(path: Path) -> tuple[PredictedHands, dict[str, Any]]:
    """The predictions of a file, and what its metadata says of where they come from.

    Raises NotThereError where there is no file, HandsimError for one that is no Parquet or lacks a column,
    for lists of another length, and for numbers that are missing.
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
    numbers = {name: _numbers(table, name, path) for name in _WIDTHS}
    joints, keypoints, confidence = (
        numbers[name] for name in ("joints_3d_mm", "keypoints_2d_px", "confidence")
    )
    assert joints is not None
    assert keypoints is not None
    assert confidence is not None
    predicted = PredictedHands(
        tuple(table["sample_id"].to_pylist()),
        sides,
        joints,
        numbers[_OPTIONAL],
        keypoints,
        confidence[..., 0],
    )
    return predicted, _facts(table.schema.metadata or {})


def _numbers(table: pa.Table, name: str, path: Path) -> NDArray[np.float32] | None:
    """A column as [N, 21, width]; None for the optional one where any hand lacks it."""
    width = _WIDTHS[name]
    if name == _OPTIONAL and (name not in table.column_names or table[name].null_count):
        return None
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
        found = next(length for length in lengths if length != expected)
        raise HandsimError(
            f"column {name} of {path} has a list of {found or 'no'} numbers; each holds {expected}, "
            f"{width} for each of the {JOINT_COUNT} joints"
        )
    flat: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return flat.reshape(-1, JOINT_COUNT, width)


def _facts(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    try:
        facts = json.loads(metadata.get(_FACTS, b"{}"))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}

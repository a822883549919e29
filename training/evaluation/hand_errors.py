"""The errors of every joint of every hand of an evaluation, and whose hand each is: ``hand_errors.parquet``.

A row is a hand: ``sample_id``, ``person``, and for each alignment a list of 21 errors in mm, NaN where a
joint was not measured; with ``mean_pose_`` before it, those of the mean pose of the training split. Intervals
over people are made of them (`handsim.metrics.bootstrap`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.files import replacing
from handsim.metrics.bootstrap import PersonSums, sum_by_person
from handsim.metrics.pose import PCK_0_50, PCK_20_50, area_of_each_error
from handsim.skeleton import JOINT_COUNT

HAND_ERRORS_FILE: Final = "hand_errors.parquet"
MEAN_POSE_PREFIX: Final = "mean_pose_"
_PCK_RANGES: Final = {"_auc_0_50": PCK_0_50, "_auc_20_50": PCK_20_50}
_ERROR: Final = "_mpjpe_mm"

Errors = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class HandErrors:
    """Errors of N hands."""

    sample_ids: tuple[str, ...]
    """[N] as in the dataset."""
    people: tuple[str, ...]
    """[N] whose hands they are. FreiHAND does not say: there each hand is a person of its own."""
    errors_mm: Mapping[str, Errors]
    """Alignment -> [N, 21], NaN where not measured."""
    mean_pose_mm: Mapping[str, Errors]
    """The same of the mean pose of the training split; empty where that is unknown."""

    def sums(self, metric: str, *, of_mean_pose: bool = False) -> PersonSums | None:
        """What a metric (a name in `METRICS`) is made of, person by person.

        None for a metric that is no mean over hands, such as a median, or that was not measured.
        """
        errors_mm = self.mean_pose_mm if of_mean_pose else self.errors_mm
        alignment = metric.removesuffix(_ERROR)
        if metric.endswith(_ERROR) and alignment in errors_mm:
            return sum_by_person(errors_mm[alignment], self.people)
        for suffix, thresholds in _PCK_RANGES.items():
            alignment = metric.removesuffix(suffix)
            if metric.endswith(suffix) and alignment in errors_mm:
                areas = area_of_each_error(errors_mm[alignment].astype(np.float64), thresholds)
                return sum_by_person(areas, self.people)
        return None


def write_hand_errors(path: Path, hands: HandErrors) -> None:
    """The file appears whole or not at all."""
    columns: dict[str, pa.Array] = {"sample_id": pa.array(hands.sample_ids), "person": pa.array(hands.people)}
    prefixed = {f"{MEAN_POSE_PREFIX}{name}": errors for name, errors in hands.mean_pose_mm.items()}
    for name, errors in {**hands.errors_mm, **prefixed}.items():
        flat = pa.array(errors.astype(np.float32).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, JOINT_COUNT)
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read_hand_errors(path: Path) -> HandErrors:
    """Raises HandsimError for a file that is damaged or holds something else."""
    try:
        table = pq.ParquetFile(path).read()
        columns = {
            name: table[name]
            .combine_chunks()
            .flatten()
            .to_numpy(zero_copy_only=False)
            .reshape(-1, JOINT_COUNT)
            for name in table.column_names
            if name not in ("sample_id", "person")
        }
        sample_ids, people = (tuple(table[name].to_pylist()) for name in ("sample_id", "person"))
    except (OSError, KeyError, ValueError, AttributeError, pa.ArrowException) as error:
        raise HandsimError(f"{path} cannot be read ({str(error).splitlines()[0][:120]})") from error
    prefix = MEAN_POSE_PREFIX
    return HandErrors(
        sample_ids,
        people,
        {name: errors for name, errors in columns.items() if not name.startswith(prefix)},
        {name.removeprefix(prefix): errors for name, errors in columns.items() if name.startswith(prefix)},
    )

"""What is known of the hands on a map: in columns, to colour them by and to tell which meet conditions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.pose_map import PoseMap
from handsim.hand import SIDES
from handsim.pool import Pool
from handsim.pool.reader import Categorical
from index import Filter

SEVERAL: Final = "several lists"


@dataclass(frozen=True, eq=False)
class MapColumns:
    """Of a map's N hands, in its order: as the pool has them now, or the map where the pool lacks one."""

    hand_ids: NDArray[np.uint64]
    """[N], ascending."""
    pool_rows: NDArray[np.int64]
    """[N]; -1 for hands that the pool does not hold."""
    sources: Categorical
    videos: Categorical
    labels: Categorical
    sides: Categorical
    """[N]; missing where it is unknown."""
    tracks: NDArray[np.uint64]
    """[N]; 0 of hands in no track."""
    scores: NDArray[np.float32]
    """[N]; NaN where it is unknown."""

    @classmethod
    def of(cls, pose_map: PoseMap, pool: Pool) -> "MapColumns":
        rows = np.full(len(pose_map), -1, dtype=np.int64)
        is_known = np.isin(pose_map.hand_ids, pool.hand_ids)
        rows[is_known] = pool.rows(pose_map.hand_ids[is_known])
        nothing = Categorical(np.full(len(pose_map), -1, dtype=np.int32), ())
        return cls(
            pose_map.hand_ids,
            rows,
            _join(pool.sources, rows, pose_map.sources),
            _join(pool.videos, rows, pose_map.videos),
            _join(pool.labels, rows, pose_map.labels),
            _join(_only(pool.sides, SIDES), rows, nothing),
            np.append(pool.tracks, np.uint64(0))[rows],
            np.append(pool.scores, np.float32(np.nan))[rows],
        )

    def __len__(self) -> int:
        return len(self.hand_ids)

    def meets(self, conditions: Filter | None) -> NDArray[np.bool_]:
        """[N] which hands meet the conditions of a search."""
        kept = np.ones(len(self), dtype=np.bool_)
        if conditions is None:
            return kept
        columns = {"source": self.sources, "side": self.sides, "video": self.videos, "label": self.labels}
        for name, values in conditions.allowed_values:
            kept &= columns[name].is_one_of(values)
        if conditions.min_score is not None:
            kept &= self.scores >= np.float32(conditions.min_score)
        if conditions.hands is not None:
            kept &= np.isin(self.hand_ids, np.fromiter(conditions.hands, np.uint64, len(conditions.hands)))
        if (gone := conditions.not_hands) is not None:
            kept &= ~np.isin(self.hand_ids, np.fromiter(gone, np.uint64, len(gone)))
        return kept

    def lists(self, lists: Mapping[str, NDArray[np.uint64]]) -> Categorical:
        """[N] the list that each hand is on, or `SEVERAL`."""
        names = (*lists, SEVERAL)
        codes = np.full(len(self), -1, dtype=np.int32)
        for code, hands in enumerate(lists.values()):
            is_on = np.isin(self.hand_ids, hands)
            codes[is_on] = np.where(codes[is_on] < 0, code, len(lists))
        return Categorical(codes, names)


def _only(column: Categorical, names: Collection[str]) -> Categorical:
    """With no other values than these."""
    codes = np.where(column.is_one_of(tuple(names)), column.codes, np.int32(-1))
    return Categorical(codes, column.names)


def _join(column: Categorical, rows: NDArray[np.int64], fallback: Categorical) -> Categorical:
    """A pool's column at rows [N]; where a row is -1, that of ``fallback`` [N]."""
    codes = np.append(column.codes, np.int32(-1))[rows]
    is_missing = rows < 0
    if not is_missing.any():
        return Categorical(codes, column.names)
    known = {name: code for code, name in enumerate(column.names)}
    translated = [known.setdefault(name, len(known)) for name in fallback.names]
    codes[is_missing] = np.array([*translated, -1], dtype=np.int32)[fallback.codes[is_missing]]
    return Categorical(codes, tuple(known))

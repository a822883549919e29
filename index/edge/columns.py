"""Vectors and videos of a version's hands in one mapped file, for those who ask by a hand's id.

Mining and training ask for the neighbours of hands. The engine looks hands up one by one, 7 us each, which is
a fifth of the search itself; in a sorted array it takes 0.3. The file is Arrow IPC, one record batch by
rising id: ``hand_id`` uint64, ``vector`` float32 [D], ``video`` as a dictionary of names. Versions of older
handsim have none.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.points import PointBatch

COLUMNS_FILE: Final = "hands.arrow"


class MappedColumns:
    """The file, read where it is touched; threads and processes share its pages."""

    def __init__(self, path: Path) -> None:
        """Map it; raises FileNotFoundError without one, pyarrow.ArrowInvalid for a damaged one."""
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        self.hand_ids: NDArray[np.uint64] = batch["hand_id"].to_numpy()
        """[N], rising."""
        self.vectors: NDArray[np.float32] = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
        """[N, D]."""
        self.video_codes: NDArray[np.int32] = batch["video"].indices.to_numpy()
        """[N] into `videos`."""
        self.videos: NDArray[np.object_] = np.array(batch["video"].dictionary.to_pylist(), dtype=np.object_)
        """Their names."""

    def find(self, hand_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float32], list[str]]:
        """Vectors [M, D] and videos of hands [M]; NaN and any video for one that is not there."""
        rows = np.minimum(np.searchsorted(self.hand_ids, hand_ids), len(self.hand_ids) - 1)
        vectors = self.vectors[rows]
        vectors[self.hand_ids[rows] != hand_ids] = np.nan
        return vectors, self.videos[self.video_codes[rows]].tolist()


class ColumnsWriter:
    """Collects the columns while a version is written: 12 bytes and the vector of each hand, in memory."""

    def __init__(self, base: MappedColumns | None = None) -> None:
        """Of no hands yet, or of those of a version that more are added to."""
        self._hand_ids = [] if base is None else [base.hand_ids]
        self._vectors = [] if base is None else [base.vectors]
        self._video_codes = [] if base is None else [base.video_codes]
        self._code_of_video = {} if base is None else {name: code for code, name in enumerate(base.videos)}

    def add(self, batch: PointBatch) -> None:
        """Add hands."""
        codes = self._code_of_video
        videos = [codes.setdefault(payload["video"], len(codes)) for payload in batch.payloads]
        self._hand_ids.append(batch.hand_ids)
        self._vectors.append(batch.vectors)
        self._video_codes.append(np.array(videos, dtype=np.int32))

    def write(self, path: Path) -> None:
        """Write all of them, at least one, by rising id."""
        hand_ids = np.concatenate(self._hand_ids)
        order = np.argsort(hand_ids)
        vectors = np.concatenate(self._vectors, dtype=np.float32)[order]
        codes = pa.array(np.concatenate(self._video_codes)[order])
        batch = pa.record_batch(
            {
                "hand_id": pa.array(hand_ids[order]),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]),
                "video": pa.DictionaryArray.from_arrays(
                    codes, pa.array(list(self._code_of_video), pa.string())
                ),
            }
        )
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)

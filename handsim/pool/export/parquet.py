"""One Parquet file with a row for each hand, which Embedding Atlas, pandas and DuckDB open as it is.

id, source, video, frame, side, score, label, track   as `handsim.hand.Hand` has them, ids in hex
path        the picture or video it was found in, below the folder that was ingested
box_px      [4] x0, y0, x1, y1 in pixels of that picture
keypoints   [21 * 3] x, y, z in the crop's unit square, as a right hand; NaN for an unlabelled joint
image       {bytes, path}: the crop as JPEG, which Embedding Atlas and Hugging Face's libraries show
vector      [D] in the embedding of the index; null for a hand that it does not hold
x, y        its place in the plane; null likewise
distance    to what was asked, where the hands are the answer of a query
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.embedding.pca import PrincipalComponents
from handsim.files import creating
from handsim.pool.export.hands import ExportedHands, Progress

_BATCH_HANDS: Final = 1_000
"""About 10 MB with their crops."""
_SCHEMA: Final = pa.schema(
    {
        "id": pa.string(),
        "path": pa.string(),
        "source": pa.string(),
        "video": pa.string(),
        "frame": pa.int64(),
        "side": pa.string(),
        "score": pa.float32(),
        "label": pa.string(),
        "track": pa.string(),
        "box_px": pa.list_(pa.float32()),
        "keypoints": pa.list_(pa.float32()),
        "joint_scores": pa.list_(pa.float32()),
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}.items()),
        "vector": pa.list_(pa.float32()),
        "x": pa.float32(),
        "y": pa.float32(),
    }.items()
)


@dataclass(frozen=True, eq=False)
class Places:
    """Where M hands lie in an embedding and in the plane."""

    vectors: NDArray[np.float32]
    """[M, D]; NaN for a hand without one."""
    xy: NDArray[np.float32]
    """[M, 2]; NaN likewise."""
    origin: str
    """What they are, in words."""


def principal_plane(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors [M, D] along the two directions in which they vary most, [M, 2]; NaN stays NaN."""
    finite = vectors[np.isfinite(vectors).all(axis=1)]
    if len(finite) < 2:
        return np.zeros((len(vectors), 2), dtype=np.float32)
    axes = PrincipalComponents.fit([finite], 2)
    places = np.zeros((len(vectors), 2), dtype=np.float32)
    places[:, : len(axes.components)] = (vectors - axes.mean) @ axes.components.T
    return places


def write_parquet(
    out: Path, hands: ExportedHands, progress: Progress, *, places: Places | None, pictures: bool = True
) -> str:
    """Write hands into a new file ``out``, in batches; returns a line of Python that opens it.

    Without ``places`` the columns vector, x and y are null; without ``pictures`` so is image, as it is for a
    hand without a crop.
    """
    schema = _SCHEMA.append(pa.field("distance", pa.float32())) if hands.distances else _SCHEMA
    if places is not None:
        schema = schema.with_metadata({"handsim_places": places.origin})
    rows = _rows(hands, progress, pictures)
    with creating(out) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        start = 0
        while batch := list(islice(rows, _BATCH_HANDS)):
            if places is not None:
                _add_places(batch, places, start)
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            start += len(batch)
    return f"import pyarrow.parquet as pq; hands = pq.read_table({str(out)!r})"


def _rows(hands: ExportedHands, progress: Progress, pictures: bool) -> Iterator[dict[str, Any]]:
    has_crop = hands.pool.has_crops[hands.rows].tolist()
    for hand, with_picture in zip(hands.read(progress), has_crop, strict=True):
        row = hands.describe(hand)
        row |= {"path": hand.file, "keypoints": hand.keypoints.reshape(-1)}
        if pictures and with_picture:
            jpeg = hands.pool.crop_jpeg(hand.hand_id)
            row["image"] = {"bytes": jpeg, "path": f"{row['id']}.jpg"}
        yield row


def _add_places(batch: list[dict[str, Any]], places: Places, start: int) -> None:
    part = slice(start, start + len(batch))
    for row, vector, (x, y) in zip(batch, places.vectors[part], places.xy[part].tolist(), strict=True):
        row["vector"] = vector if np.isfinite(vector).all() else None
        row["x"], row["y"] = (x, y) if np.isfinite(x + y) else (None, None)

"""What is in a pool, in numbers: two million hands take seconds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from handsim.pool import layout
from handsim.pool.duplicates import DuplicateGroups
from handsim.pool.reader import Categorical, Pool

_SCORE_QUANTILES: Final = {"least": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "most": 1.0}


@dataclass(frozen=True)
class PoolInfo:
    """What `read_pool_info` counted; `dataclasses.asdict` of it is JSON."""

    hands: int
    partly_labelled: int
    """Hands with unlabelled joints."""
    without_crop: int
    """Hands with keypoints alone."""
    sources: dict[str, int]
    """Hands of each collection, most first; likewise below."""
    sides: dict[str, int]
    labels: dict[str, int]
    without_label: int
    removed: int
    """Hands that were removed, and are shown to nobody."""
    duplicates: int | None
    """Hands that are like another one; None where nobody looked for them."""
    duplicate_groups: int | None
    scores: dict[str, float]
    """Quantiles of the hands' scores; empty without hands."""
    videos: int
    median_hands_of_a_video: float
    largest_video: str | None
    """Its name; None without hands."""
    largest_video_hands: int
    tracks: int
    """Hands that are followed over the frames of a video."""
    tracked_hands: int
    """Hands in tracks."""
    median_hands_of_a_track: float
    single_hand_tracks: int
    crop_size_px: int
    crop_enlargement: float
    """Side of the pictures, in longer sides of the hand's box."""
    parts: int
    crop_bytes: int
    """On disk, without crops that are links into another pool."""
    table_bytes: int
    items: int
    """Pieces of work that ingests have recorded: pictures, stretches of video, batches of annotations."""
    pictures: int
    """Pictures and frames that these looked at."""
    skipped: dict[str, int]
    """How many pictures and frames each reason cost, most first."""


def read_pool_info(path: str | Path) -> PoolInfo:
    """Count what a pool holds; raises NotThereError, or HandsimError for a damaged file."""
    pool = Pool.open(path)
    parts = pool.tars.parts  # while the pool is open, nobody deletes them
    per_video = np.bincount(pool.videos.codes, minlength=len(pool.videos.names))
    largest = int(per_video.argmax()) if len(per_video) else None
    files = [(file.name, file.lstat()) for part in parts for file in part.iterdir()]
    crop_bytes = sum(status.st_size for name, status in files if name == layout.CROPS_FILE)
    items, pictures, skipped = _read_items(parts)
    lengths = np.unique(pool.tracks[pool.tracks > 0], return_counts=True)[1]
    duplicates = DuplicateGroups.load(pool.path)
    return PoolInfo(
        hands=len(pool),
        partly_labelled=int((~pool.is_complete).sum()),
        without_crop=int((~pool.has_crops).sum()),
        sources=_count(pool.sources),
        sides=_count(pool.sides),
        labels=_count(pool.labels),
        without_label=int((pool.labels.codes < 0).sum()),
        removed=len(layout.read_removed(pool.path)),
        duplicates=None if duplicates is None else len(duplicates.hand_ids),
        duplicate_groups=None if duplicates is None else len(np.unique(duplicates.group)),
        scores=_quantiles(pool.scores),
        videos=len(per_video),
        median_hands_of_a_video=float(np.median(per_video)) if len(per_video) else 0.0,
        largest_video=None if largest is None else pool.videos.names[largest],
        largest_video_hands=0 if largest is None else int(per_video[largest]),
        tracks=len(lengths),
        tracked_hands=int(lengths.sum()),
        median_hands_of_a_track=float(np.median(lengths)) if len(lengths) else 0.0,
        single_hand_tracks=int((lengths == 1).sum()),
        crop_size_px=pool.crop_size_px,
        crop_enlargement=pool.crop_enlargement,
        parts=len(parts),
        crop_bytes=crop_bytes,
        table_bytes=sum(status.st_size for _, status in files) - crop_bytes,
        items=items,
        pictures=pictures,
        skipped=skipped,
    )


def _count(values: Categorical) -> dict[str, int]:
    """How many hands have each value, most first."""
    counts = np.bincount(values.codes[values.codes >= 0], minlength=len(values.names)).tolist()
    return dict(Counter(dict(zip(values.names, counts, strict=True))).most_common())


def _quantiles(scores: NDArray[np.float32]) -> dict[str, float]:
    if not len(scores):
        return {}
    values = np.quantile(scores, list(_SCORE_QUANTILES.values())).tolist()
    return {name: round(value, 4) for name, value in zip(_SCORE_QUANTILES, values, strict=True)}


def _read_items(parts: Sequence[Path]) -> tuple[int, int, dict[str, int]]:
    """Items, their pictures, and pictures by the reason for which they were skipped."""
    items = pictures = 0
    skipped: Counter[str] = Counter()
    for part in parts:
        table = layout.read_columns(part, layout.ITEMS_FILE, ["pictures", "skipped"])
        items += len(table)
        pictures += pc.sum(table["pictures"], min_count=0).as_py()
        skips = table["skipped"].combine_chunks().flatten()
        reasons = pa.table({name: pc.struct_field(skips, name) for name in ("reason", "count")})
        for row in reasons.group_by("reason").aggregate([("count", "sum")]).to_pylist():
            skipped[row["reason"]] += row["count_sum"]
    return items, pictures, dict(skipped.most_common())

"""The hands of the tray as a file to download."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.library import Library
from apps.cli.lists import describe_hands, to_csv, to_json
from handsim.pool import Pool
from handsim.pool.export.coco import write_coco
from handsim.pool.export.hands import ExportedHands
from handsim.pool.export.parquet import write_parquet
from handsim.pool.selection import Selection

MAX_WITH_PICTURES: Final = 5_000
"""About 50 MB; the file is made in memory."""


@dataclass(frozen=True)
class Format:
    ending: str
    mime: str
    about: str
    with_pictures: bool


FORMATS: Final = {
    "CSV": Format(".csv", "text/csv", "a table: id, video, source, side, label, frame, score", False),
    "JSON": Format(".json", "application/json", "the same as JSON", False),
    "COCO": Format(".zip", "application/zip", "keypoints and crops, for annotation tools and FiftyOne", True),
    "Parquet": Format(
        ".parquet",
        "application/vnd.apache.parquet",
        "keypoints and crops in one file, for Embedding Atlas",
        True,
    ),
}


def make_file(library: Library, name: str, hand_ids: NDArray[np.uint64]) -> bytes:
    """Hands [N] in one of `FORMATS`, those that the pool holds; reads no session state."""
    pool = library.open_pool()
    if name == "CSV":
        return to_csv(describe_hands(pool, hand_ids)).encode()
    if name == "JSON":
        return to_json(describe_hands(pool, hand_ids)).encode()
    with TemporaryDirectory() as folder:
        return _make_with_pictures(pool, name, hand_ids, Path(folder))


def _make_with_pictures(pool: Pool, name: str, hand_ids: NDArray[np.uint64], folder: Path) -> bytes:
    held = hand_ids[np.isin(hand_ids, pool.hand_ids)]
    hands = ExportedHands.select(pool, Selection(ids=tuple(held.tolist())))
    if name == "Parquet":
        write_parquet(folder / "hands.parquet", hands, _ignore, places=None)
        return (folder / "hands.parquet").read_bytes()
    write_coco(folder / "hands", hands.with_pictures(), _ignore)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # crops are JPEG: they get no smaller
        for file in sorted((folder / "hands").rglob("*")):
            archive.write(file, file.relative_to(folder))
    return buffer.getvalue()


def _ignore(done: int, total: int) -> None:
    pass

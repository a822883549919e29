"""Evaluations of retrieval as a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from apps.browser.file_memory import FileMemory
from apps.browser.json_values import number, text
from apps.browser.results.best import best_column
from apps.browser.runs.places import RunPlace

FILE: Final = "retrieval.json"
FIGURES: Final = {
    "pose_distances.png": "Joint distances of mined and of random pairs",
    "explained_variance.png": "Variance that the embedding keeps",
}
"""What `handsim evaluate retrieval` draws -> its caption."""
_JUDGED: Final = {
    "recall_at_1": ("Recall@1", True),
    "recall_at_10": ("Recall@10", True),
    "precision_at_1": ("Precision@1", True),
    "precision_at_10": ("Precision@10", True),
    "mined_pose_distance": ("Mined distance", False),
}
_TOLD: Final = {
    "random_pose_distance": "Random distance",
    "covered": "With a positive",
    "cross_video_share": "Across videos",
    "explained_variance": "Explained variance",
}
_COUNTS: Final = {"points": "Hands", "sample": "Asked for"}

Reports = list[tuple[RunPlace, Mapping[str, Any]]]


def retrieval_reports(places: Sequence[RunPlace], objects: FileMemory[dict[str, Any]]) -> Reports:
    """The evaluations that are there, in the order of ``places``."""
    found = ((place, objects(place.path / FILE)) for place in places)
    return [(place, report) for place, report in found if report is not None]


def retrieval_table(reports: Reports) -> Any:
    """An Arrow table with a row for each."""
    told = [report for _, report in reports]
    judged = {
        column: (_numbers(told, name), higher_is_better)
        for name, (column, higher_is_better) in _JUDGED.items()
    }
    columns = {column: numbers for column, (numbers, _) in judged.items()}
    columns |= {column: _numbers(told, name) for name, column in _TOLD.items()}
    counts = {column: _numbers(told, name) for name, column in _COUNTS.items()}
    return pa.table(
        {
            "Evaluation": pa.array([place.title for place, _ in reports], pa.string()),
            "Index": pa.array([text(report.get("index_version")) for report in told], pa.string()),
            **{column: pa.array(each, pa.float64()) for column, each in columns.items()},
            **best_column(judged, len(reports)),
            **{column: pa.array(each, pa.float64()) for column, each in counts.items()},
            "Embedding": pa.array([text(each.get("embedding_fingerprint")) for each in told], pa.string()),
        }
    )


def _numbers(reports: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    return [number(report.get(name)) for report in reports]


def retrieval_figures(path: Path) -> dict[str, Path]:
    """Caption -> picture, of a run's folder."""
    files = {caption: path / "figures" / name for name, caption in FIGURES.items()}
    return {caption: file for caption, file in files.items() if file.is_file()}

"""Results as Arrow tables: pose evaluations, evaluations of retrieval, and the tables of experiments.

Numbers stay numbers, so that people can sort them. The mean pose of the training split is the last row.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from apps.browser.results.charts import PAIRS_3D, POSE_DISTANCES, VARIANCE
from apps.browser.results.evaluations import Objects, PoseGroup
from apps.browser.results.pairs_3d import KEY
from apps.browser.training.runs import (
    FACTS_FILE,
    RunPlace,
    Tail,
    as_number,
    as_text,
    init_title,
    owner_of,
)
from training.experiments.tables import AXIS_TITLES, MEAN_POSE, Cell, Table

Numbers = Sequence[float | None]

BEST: Final = "Best"
BEST_PX: Final = 250
"""Room for the names of four columns."""
STAR: Final = "★"
_UNIT: Final = " ("


def best_column(columns: Mapping[str, tuple[Numbers, bool]], rows: int, below: int = 0) -> dict[str, Any]:
    """A table's column: for each of ``rows`` a star and the names of the columns that it is best in.

    A column is its numbers and whether higher ones are better; where all are equal, none is best. The names
    lose their units. ``below`` blank rows follow. Empty where no row is best.
    """
    names: list[list[str]] = [[] for _ in range(rows)]
    for column, (numbers, higher_is_better) in columns.items():
        known = {number for number in numbers if number is not None}
        if len(known) < 2:
            continue
        top = max(known) if higher_is_better else min(known)
        for row, value in enumerate(numbers):
            if value == top:
                names[row].append(column.split(_UNIT)[0])
    best = [f"{STAR} {', '.join(row)}" if row else "" for row in names]
    return {BEST: pa.array([*best, *[""] * below], pa.string())} if any(best) else {}


NUMBERS: Final = {
    "mpjpe_mm": "MPJPE (mm)",
    "median_mm": "Median (mm)",
    "auc_0_50": "AUC 0–50",
    "auc_20_50": "AUC 20–50",
}
"""Metric of an alignment -> its column."""
SPREADS: Final = {"MPJPE (mm)": "± mm", "AUC 0–50": "± AUC"}
"""Column -> the column of its standard deviation over the seeds."""
KEYPOINTS: Final = "2D (px)"
MESH_NUMBERS: Final = {"mpvpe_mm": "MPVPE (mm)", "f_5": "F@5", "f_15": "F@15"}
"""Metric of a mesh -> its column, which is there where a mesh was measured."""
AGAINST_MEAN: Final = "Of mean pose"


def pose_table(
    groups: Sequence[PoseGroup], alignment: str, tails: Mapping[Tail, RunPlace], objects: Objects
) -> Any:
    """An Arrow table in the order of ``groups``; the mean pose of the training split comes last.

    Shares are in percent: Streamlit's own percent format leaves out decimals that are zero.
    """
    floors = mean_poses(groups)
    blank = [None] * len(floors)

    def column_of(value: Callable[[PoseGroup], Any]) -> list[Any]:
        return [*map(value, groups), *blank]

    metrics = {column: f"{alignment}_{number}" for number, column in NUMBERS.items()}
    metrics[KEYPOINTS] = "keypoints_2d_mean_px"
    mesh = {column: f"mesh_{alignment}_{number}" for number, column in MESH_NUMBERS.items()}
    metrics |= {
        column: metric
        for column, metric in mesh.items()
        if any(group.mean(metric) is not None for group in groups)
    }
    means = {column: [group.mean(metric) for group in groups] for column, metric in metrics.items()}
    ranked = {column: (numbers, column.startswith(("AUC", "F@"))) for column, numbers in means.items()}
    numbers: dict[str, list[Any]] = {}
    for column, metric in metrics.items():
        numbers[column] = [*means[column], *(floor.get(metric) for floor in floors)]
        spreads = [group.spread(metric) for group in groups]
        if column in SPREADS and any(spread is not None for spread in spreads):
            numbers[SPREADS[column]] = [*spreads, *blank]
    numbers[AGAINST_MEAN] = column_of(lambda group: _percent(_against_mean(group, alignment)))
    numbers["Labels"] = column_of(
        lambda group: _percent(as_number(group.report.training.get("label_fraction")))
    )
    texts = {
        "Begins with": column_of(lambda group: _begins_with(group, tails, objects)),
        "Encoder": column_of(lambda group: as_text(group.report.facts.get("architecture"))),
        "Trained on": column_of(_train_set),
        "Seeds": column_of(lambda group: group.seeds),
    }
    return pa.table(
        {
            "Evaluation": [*(group.title for group in groups), *(MEAN_POSE for _ in floors)],
            **{column: pa.array(each, pa.float64()) for column, each in numbers.items()},
            **best_column(ranked, len(groups), below=len(floors)),
            **{column: pa.array(each, pa.string()) for column, each in texts.items()},
        }
    )


def mean_poses(groups: Sequence[PoseGroup]) -> list[Mapping[str, float]]:
    """The scores of the mean poses of the groups' training splits, each once."""
    scores = {
        tuple(sorted(each.report.mean_pose.items())): each.report.mean_pose
        for group in groups
        for each in group.members
        if each.report.mean_pose
    }
    return list(scores.values())


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _against_mean(group: PoseGroup, alignment: str) -> float | None:
    """The error as a share of the mean pose's; at 1 or above the estimator learned nothing from images."""
    metric = f"{alignment}_mpjpe_mm"
    error, floor = group.mean(metric), group.report.mean_pose.get(metric)
    return None if error is None or not floor else error / floor


def _train_set(group: PoseGroup) -> str | None:
    facts = group.report.facts
    return as_text(facts.get("train_set", facts.get("trained_on")))  # the second is the older name


def _begins_with(group: PoseGroup, tails: Mapping[Tail, RunPlace], objects: Objects) -> str | None:
    """What the trunk started from; over seeds, that of the first one."""
    facts = group.report.facts
    owner = owner_of(str(facts.get("checkpoint")), tails)
    config = None if owner is None else (objects(owner.path / FACTS_FILE) or {}).get("config")
    encoder = config.get("encoder") if isinstance(config, dict) else None
    if not isinstance(encoder, dict):
        return as_text(facts.get("init"))
    return init_title(encoder.get("init"), tails)


RETRIEVAL_FILE: Final = "retrieval.json"
FIGURES: Final = {
    "pose_distances.png": POSE_DISTANCES,
    "explained_variance.png": VARIANCE,
    "pairs_3d.png": PAIRS_3D,
}
"""What `handsim evaluate retrieval` draws -> its caption."""
_RANKED: Final = {
    "recall_at_1": ("Recall@1", True),
    "recall_at_10": ("Recall@10", True),
    "precision_at_1": ("Precision@1", True),
    "precision_at_10": ("Precision@10", True),
    "mined_pose_distance": ("Mined distance", False),
}
_OTHER_NUMBERS: Final = {"ceiling_at_10": "P@10 at most", "random_pose_distance": "Random distance"}
_SHARES: Final = {
    "covered": "With a match",
    "cross_video_share": "Across videos",
    "explained_variance": "Explained variance",
}
"""Shown as percentages."""
_IN_3D: Final = {
    "Mined 3D": ("mined", "aligned_mm"),
    "of it in xy": ("mined", "xy_mm"),
    "of it in depth": ("mined", "depth_mm"),
    "Random 3D": ("random", "aligned_mm"),
    "Oracle 3D": ("oracle", "aligned_mm"),
}
"""Column -> place in what `--labels3d` wrote."""
_COUNTS: Final = {"points": "Hands", "sample": "Asked for", "without_peer": "Without a peer"}

Reports = list[tuple[RunPlace, Mapping[str, Any]]]


def retrieval_reports(places: Sequence[RunPlace], objects: Objects) -> Reports:
    reports = ((place, objects(place.path / RETRIEVAL_FILE)) for place in places)
    return [(place, report) for place, report in reports if report is not None]


def retrieval_table(reports: Reports) -> Any:
    contents = [report for _, report in reports]
    ranked = {
        column: (_numbers(contents, name), higher_is_better)
        for name, (column, higher_is_better) in _RANKED.items()
    }
    columns = {column: numbers for column, (numbers, _) in ranked.items()}
    columns |= {column: _numbers(contents, name) for name, column in _OTHER_NUMBERS.items()}
    columns |= {column: _percents(contents, name) for name, column in _SHARES.items()}
    columns |= {column: each for column, each in _numbers_in_3d(contents).items() if any(each)}
    counts = {column: _numbers(contents, name) for name, column in _COUNTS.items()}
    return pa.table(
        {
            "Evaluation": pa.array([place.title for place, _ in reports], pa.string()),
            "Index": pa.array([as_text(report.get("index_version")) for report in contents], pa.string()),
            **{column: pa.array(each, pa.float64()) for column, each in columns.items()},
            **(best_column(ranked, len(reports)) if are_comparable(reports) else {}),
            **{column: pa.array(each, pa.float64()) for column, each in counts.items()},
            "Embedding": pa.array(
                [as_text(each.get("embedding_fingerprint")) for each in contents], pa.string()
            ),
        }
    )


def are_comparable(reports: Reports) -> bool:
    """Whether all evaluations are of as many hands: among more hands the nearest ones are nearer, and recall
    and precision are others, with the same embedding and index.
    """
    return len({(report.get("points"), report.get("sample")) for _, report in reports}) <= 1


def _percents(reports: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    return [None if share is None else 100 * share for share in _numbers(reports, name)]


def _numbers(reports: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    return [as_number(report.get(name)) for report in reports]


def _numbers_in_3d(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Column -> errors in mm; None for an evaluation without ``--labels3d``."""

    def read(report: Mapping[str, Any], kind: str, name: str) -> float | None:
        means = (report.get(KEY) or {}).get(kind) or {}
        return as_number(means.get(name))

    return {column: [read(report, *place) for report in reports] for column, place in _IN_3D.items()}


def retrieval_figures(path: Path) -> dict[str, Path]:
    """Caption -> picture, of a run's folder."""
    files = {caption: path / "figures" / name for name, caption in FIGURES.items()}
    return {caption: file for caption, file in files.items() if file.is_file()}


def experiment_table(table: Table, escape: Callable[[str], str]) -> Any:
    """A table of an experiment in Markdown, the best cells bold with a star, clear differences bold."""
    names = [
        escape(AXIS_TITLES[table.rows_axis]),
        *(escape(table.heading(column)) for column in table.columns),
    ]
    columns = [
        [_cell_text(row[place], column.metric.digits) for row in table.cells]
        for place, column in enumerate(table.columns)
    ]
    rows = [escape(table.row_heading(row)) for row in table.rows]
    return pa.table([pa.array(column, pa.string()) for column in (rows, *columns)], names)


def _cell_text(cell: Cell, digits: int) -> str:
    text = f"**{cell.text(digits)}**" if cell.best or cell.is_clear else cell.text(digits)
    return f"{STAR} {text}" if cell.best else text

"""Evaluations on one split as a table: sortable numbers, the best ones named, the mean pose below."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from apps.browser.json_values import number, text
from apps.browser.results.best import best_column
from apps.browser.results.lineage import Objects
from apps.browser.results.pose_groups import PoseGroup
from apps.browser.runs.places import RunPlace, Tail, owner_of
from apps.browser.runs.record import FACTS, init_title

NUMBERS: Final = {
    "mpjpe_mm": "MPJPE (mm)",
    "median_mm": "Median (mm)",
    "auc_0_50": "AUC 0–50",
    "auc_20_50": "AUC 20–50",
}
"""What is told of each alignment -> its column."""
SPREADS: Final = {"MPJPE (mm)": "± mm", "AUC 0–50": "± AUC"}
"""Columns whose spread over the seeds is told -> its column."""
KEYPOINTS: Final = "2D (px)"
AGAINST_MEAN: Final = "Of mean pose"
MEAN_POSE: Final = "mean pose"


def pose_table(
    groups: Sequence[PoseGroup], alignment: str, tails: Mapping[Tail, RunPlace], objects: Objects
) -> Any:
    """An Arrow table in the order of ``groups``; the mean pose of the training split comes last.

    Shares are in percent: Streamlit's own percent format leaves out decimals that are zero.
    """
    floors = mean_poses(groups)
    blank = [None] * len(floors)

    def told(of_group: Callable[[PoseGroup], Any]) -> list[Any]:
        return [*map(of_group, groups), *blank]

    metrics = {column: f"{alignment}_{number}" for number, column in NUMBERS.items()}
    metrics[KEYPOINTS] = "keypoints_2d_mean_px"
    means = {column: [group.mean(metric) for group in groups] for column, metric in metrics.items()}
    judged = {column: (numbers, column.startswith("AUC")) for column, numbers in means.items()}
    numbers: dict[str, list[Any]] = {}
    for column, metric in metrics.items():
        numbers[column] = [*means[column], *(floor.get(metric) for floor in floors)]
        spreads = [group.spread(metric) for group in groups]
        if column in SPREADS and any(spread is not None for spread in spreads):
            numbers[SPREADS[column]] = [*spreads, *blank]
    numbers[AGAINST_MEAN] = told(lambda group: _percent(_against_mean(group, alignment)))
    numbers["Labels"] = told(lambda group: _percent(number(group.report.training.get("label_fraction"))))
    texts = {
        "Begins with": told(lambda group: _begins_with(group, tails, objects)),
        "Encoder": told(lambda group: text(group.report.facts.get("architecture"))),
        "Trained on": told(lambda group: text(group.report.facts.get("trained_on"))),
        "Seeds": told(lambda group: group.seeds),
    }
    return pa.table(
        {
            "Evaluation": [*(group.title for group in groups), *(MEAN_POSE for _ in floors)],
            **{column: pa.array(each, pa.float64()) for column, each in numbers.items()},
            **best_column(judged, len(groups), below=len(floors)),
            **{column: pa.array(each, pa.string()) for column, each in texts.items()},
        }
    )


def mean_poses(groups: Sequence[PoseGroup]) -> list[Mapping[str, float]]:
    """What the mean poses score that the groups are held against: mostly one, each once."""
    found = {
        tuple(sorted(each.report.mean_pose.items())): each.report.mean_pose
        for group in groups
        for each in group.members
        if each.report.mean_pose
    }
    return list(found.values())


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _against_mean(group: PoseGroup, alignment: str) -> float | None:
    """The error as a share of the mean pose's: from 1 on, nothing was learned from pictures."""
    metric = f"{alignment}_mpjpe_mm"
    error, floor = group.mean(metric), group.report.mean_pose.get(metric)
    return None if error is None or not floor else error / floor


def _begins_with(group: PoseGroup, tails: Mapping[Tail, RunPlace], objects: Objects) -> str | None:
    """What the trunk began with; over seeds, what the first one's did."""
    facts = group.report.facts
    owner = owner_of(str(facts.get("checkpoint")), tails)
    config = None if owner is None else (objects(owner.path / FACTS) or {}).get("config")
    encoder = config.get("encoder") if isinstance(config, dict) else None
    if not isinstance(encoder, dict):
        return text(facts.get("init"))
    return init_title(encoder.get("init"), tails)

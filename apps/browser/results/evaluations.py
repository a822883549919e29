"""Evaluations side by side: those that differ by their seeds alone are one, with a mean and a spread.

One evaluation of estimated poses, as its ``pose.json`` tells it.

What a run comes from, all the way back, but for the seeds: runs that differ by those alone are equal.

Experiments of a home: the tables of papers, as `handsim experiment` wrote them.

What evaluations and experiments of a home say, kept in mind for all who look.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from apps.browser.training.runs import FACTS, FileMemory, RunPlace, Tail, by_tail, owner_of, read_object
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.skeleton import JOINT_NAMES
from training.evaluation.report import ALIGNMENTS, FORMAT, REPORT_FILE

Curves = Mapping[str, NDArray[np.float64]]
"""Alignment -> share [T] of joints within each of the thresholds from 0 to 50 mm."""
Joints = Mapping[str, NDArray[np.float64]]
"""Alignment -> mean error [21] in mm, NaN for a joint that no hand has."""


@dataclass(frozen=True, eq=False)
class PoseReport:
    """What was measured, and on what."""

    dataset: str
    """Its name, as ``freihand``."""
    split: str
    """Of the dataset."""
    facts: Mapping[str, Any]
    """Where the predictions come from."""
    metrics: Mapping[str, float]
    """By flat name, as ``root_relative_mpjpe_mm``; empty where the split has no truth."""
    mean_pose: Mapping[str, float]
    """The same of the mean pose of the training split; empty where it is not known."""
    thresholds_mm: NDArray[np.float64]
    """[T] of the curves."""
    curves: Curves
    """Of the estimator."""
    mean_pose_curves: Curves
    """Of the mean pose."""
    joints_mm: Joints
    """Of the estimator."""
    mean_pose_joints_mm: Joints
    """Of the mean pose."""

    @property
    def training(self) -> Mapping[str, Any]:
        """What the estimator was trained on, as far as it is told."""
        told = self.facts.get("training")
        return told if isinstance(told, dict) else {}


def read_pose_report(path: Path) -> PoseReport:
    """Read ``pose.json``; raises ValueError, KeyError, TypeError or OverflowError for one that is damaged."""
    told = read_object(path)
    if told["format"] != FORMAT:
        raise HandsimError(f"{path} has format {told['format']}; this handsim reads {FORMAT}")
    curves, mean_curves = (told[name].get("pck_0_50", {}) for name in ("curves", "mean_pose_curves"))
    report = PoseReport(
        dataset=str(told["settings"]["dataset"]),
        split=str(told["settings"]["split"]),
        facts=told["facts"],
        metrics=_finite(told["metrics"]),
        mean_pose=_finite(told["mean_pose"]),
        thresholds_mm=_array(curves.get("thresholds_mm", [])),
        curves=_curves(curves),
        mean_pose_curves=_curves(mean_curves),
        joints_mm=_joints(told["joint_mpjpe_mm"]),
        mean_pose_joints_mm=_joints(told["mean_pose_joint_mpjpe_mm"]),
    )
    if not isinstance(report.facts, dict):
        raise HandsimError(f"{path} says of the estimator what is no object")
    if report.metrics and not report.curves:
        raise HandsimError(f"{path} has numbers and no curve; evaluate it anew")
    return report


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    told = {name: float(value) for name, value in numbers.items() if value is not None}
    return {name: value for name, value in told.items() if math.isfinite(value)}


def _array(numbers: Any) -> NDArray[np.float64]:
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _curves(told: Mapping[str, Any]) -> Curves:
    return {name: _array(told[name]) for name in ALIGNMENTS if name in told}


def _joints(told: Mapping[str, Any]) -> Joints:
    return {
        name: _array(told[name].get(joint) for joint in JOINT_NAMES) for name in ALIGNMENTS if name in told
    }


_DEEPEST: Final = 8
_NOT_WHAT_IS_LEARNED: Final = ("log", "seed")
_OF_THE_SEED: Final = (
    *("seed", "trained_on", "hands", "val_hands", "mean_bone_mm", "batches_done"),
    *("torch", "lightning"),
)

Objects = FileMemory[dict[str, Any]]


def lineage(place: RunPlace, tails: Mapping[Tail, RunPlace], objects: Objects, depth: int = 0) -> Any:
    """A run's settings without its seed, and in the place of ``encoder.init`` those of where it comes from.

    Plain values; of a run without readable facts the end of its path.
    """
    config = (objects(place.path / FACTS) or {}).get("config")
    if not isinstance(config, dict) or depth > _DEEPEST:
        return list(place.tail)
    kept = {name: value for name, value in config.items() if name not in _NOT_WHAT_IS_LEARNED}
    encoder = kept.get("encoder")
    if isinstance(encoder, dict):
        kept["encoder"] = {**encoder, "init": _origin(encoder.get("init"), tails, objects, depth)}
    return kept


def _origin(init: object, tails: Mapping[Tail, RunPlace], objects: Objects, depth: int) -> Any:
    owner = owner_of(str(init), tails)
    return init if owner is None else lineage(owner, tails, objects, depth + 1)


def same_but_seed(report: PoseReport, tails: Mapping[Tail, RunPlace], objects: Objects) -> str:
    """Equal for evaluations on one split whose estimators differ by their seeds alone."""
    checkpoint = str(report.facts.get("checkpoint"))
    owner = owner_of(checkpoint, tails)
    if owner is not None:
        come_from = lineage(owner, tails, objects)
    else:
        training = {name: value for name, value in report.training.items() if name not in _OF_THE_SEED}
        come_from = [training, checkpoint if not training else None]
    which = checkpoint.rsplit("/", 1)[-1]
    return json.dumps([report.dataset, report.split, which, come_from], sort_keys=True, default=str)


_SEED: Final = re.compile(r",? seed [0-9]+$")
_VERB: Final = "evaluate "
"""Titles of experiments' steps begin with it."""
_SHORTEST_NAME: Final = 3


@dataclass(frozen=True, eq=False)
class Measured:
    """One evaluation and where it lies."""

    place: RunPlace
    """The folder that it was written to."""
    report: PoseReport
    """What it says."""

    @property
    def seed(self) -> int | None:
        """Of the training, where it is told."""
        seed = self.report.training.get("seed")
        return seed if isinstance(seed, int) else None


@dataclass(frozen=True, eq=False)
class PoseGroup:
    """Evaluations on one split whose estimators differ by their seeds alone; often a single one."""

    title: str
    """Unlike that of every other group."""
    members: tuple[Measured, ...]
    """By seed, each seed once."""

    @property
    def report(self) -> PoseReport:
        """Of the first one: what is not measured is the same for all."""
        return self.members[0].report

    @property
    def seeds(self) -> str:
        """For people."""
        return ", ".join(str(each.seed) for each in self.members if each.seed is not None)

    def mean(self, metric: str) -> float | None:
        """Over the seeds; None where one of them has no such number."""
        values = self._values(metric)
        return fmean(values) if len(values) == len(self.members) else None

    def spread(self, metric: str) -> float | None:
        """The standard deviation over the seeds (of a sample: n - 1); None for fewer than two."""
        values = self._values(metric)
        return stdev(values) if len(values) == len(self.members) > 1 else None

    def _values(self, metric: str) -> list[float]:
        told = (each.report.metrics.get(metric) for each in self.members)
        return [value for value in told if value is not None]

    def curves(self, alignment: str) -> NDArray[np.float64] | None:
        """[members, T] shares within `PoseReport.thresholds_mm`; None where one has no such curve."""
        curves = [each.report.curves.get(alignment) for each in self.members]
        known = [curve for curve in curves if curve is not None and len(curve)]
        if len(known) < len(curves) or len({len(curve) for curve in known}) > 1:
            return None
        return np.stack(known)

    def joints_mm(self, alignment: str) -> NDArray[np.float64] | None:
        """[21] mean errors over the seeds; None where one has none."""
        joints = [each.report.joints_mm.get(alignment) for each in self.members]
        known = [errors for errors in joints if errors is not None]
        return np.mean(known, axis=0) if len(known) == len(joints) else None


def pose_groups(
    places: Sequence[RunPlace],
    reports: FileMemory[PoseReport],
    objects: Objects,
    *,
    over_seeds: bool = True,
) -> list[PoseGroup]:
    """All pose evaluations of a home; ``over_seeds`` puts those together that differ by their seeds alone.

    Of two with the same seed the later one counts. Those without any truth are left out.
    """
    tails = by_tail(places)
    found: dict[str, list[Measured]] = defaultdict(list)
    for place in places:
        report = reports(place.path / REPORT_FILE)
        if report is not None and report.metrics:
            key = same_but_seed(report, tails, objects) if over_seeds else place.title
            found[key].append(Measured(place, report))
    return _told_apart([_group(members) for members in found.values()])


def _group(members: Sequence[Measured]) -> PoseGroup:
    by_seed: dict[object, Measured] = {}
    for each in sorted(members, key=lambda each: _written(each.place.path / REPORT_FILE)):
        by_seed[each.place.title if each.seed is None else each.seed] = each
    kept = sorted(by_seed.values(), key=lambda each: (each.seed or 0, each.place.title))
    titles = [each.place.title.removeprefix(_VERB) for each in kept]
    return PoseGroup(common_title(titles), tuple(kept))


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def common_title(titles: Sequence[str]) -> str:
    """What several runs may be called together: ``first-s1``, ``first-s2`` are ``first-s*``."""
    if len(titles) == 1:
        return titles[0]
    without = {_SEED.sub("", title) for title in titles}
    if len(without) == 1:
        return without.pop()
    start = _common_start(titles)
    end = _common_start([title[len(start) :][::-1] for title in titles])[::-1]
    if len(start) + len(end) < _SHORTEST_NAME:
        return f"{titles[0]} and {len(titles) - 1} more"
    return f"{start}*{end}"


def _common_start(texts: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


def _told_apart(groups: Sequence[PoseGroup]) -> list[PoseGroup]:
    counts = Counter(group.title for group in groups)
    return [
        group if counts[group.title] == 1 else replace(group, title=_with_folder(group)) for group in groups
    ]


def _with_folder(group: PoseGroup) -> str:
    return f"{group.title} ({group.members[0].place.tail[1]})"


def ranked(groups: Sequence[PoseGroup], alignment: str) -> list[PoseGroup]:
    """The lowest mean error first; those without one last."""

    def error_mm(group: PoseGroup) -> float:
        error = group.mean(f"{alignment}_mpjpe_mm")
        return float("inf") if error is None else error

    return sorted(groups, key=error_mm)


def splits(groups: Sequence[PoseGroup]) -> dict[str, list[PoseGroup]]:
    """``DATASET SPLIT`` -> its groups: only those can be compared; the split with the most comes first."""
    found: Mapping[str, list[PoseGroup]] = defaultdict(list)
    for group in groups:
        found[f"{group.report.dataset} {group.report.split}"].append(group)
    return dict(sorted(found.items(), key=lambda each: (-len(each[1]), each[0])))


_EXPERIMENT_FORMAT: Final = 1
_FOLDER: Final = "experiments"
_STEPS: Final = "steps"


@dataclass(frozen=True)
class Cell:
    """One number over the seeds."""

    mean: float | None
    """None where no seed is done."""
    spread: float | None
    """The standard deviation; None for fewer than two seeds."""
    n: int
    """Seeds that are done."""
    seeds: int
    """Seeds that there should be."""
    failed: int
    """Seeds that failed."""
    best: bool
    """Whether no other whole cell of its column is better."""
    values: tuple[float, ...]
    """One for each seed that is done."""


@dataclass(frozen=True)
class Column:
    """What stands in one."""

    label: str | None
    """The value on the axis of columns; None where there is none."""
    metric: str
    """The number's name."""
    title: str
    """The number's name for people."""

    @property
    def digits(self) -> int:
        """After the point."""
        return 3 if "_auc_" in self.metric else 2


@dataclass(frozen=True)
class Table:
    """Rows and columns of cells."""

    title: str
    """Above it."""
    rows_axis: str
    """What the rows are values of."""
    columns_axis: str | None
    """What the columns are values of, if of anything."""
    where: Mapping[str, Any]
    """What holds for the whole table."""
    rows: tuple[str, ...]
    """The first column."""
    columns: tuple[Column, ...]
    """The others."""
    cells: tuple[tuple[Cell, ...], ...]
    """[rows][columns]."""

    def heading(self, column: Column) -> str:
        """What stands above a column."""
        if self.columns_axis is None or column.label is None:
            return column.title
        return f"{spaced(self.columns_axis)} {column.label}: {column.title}"

    @property
    def metrics(self) -> dict[str, str]:
        """Metric -> its title, each once."""
        return {column.metric: column.title for column in self.columns}


@dataclass(frozen=True)
class ExperimentResults:
    """What ``results.json`` says."""

    title: str
    """Of the experiment."""
    states: tuple[str, ...]
    """``done``, ``failed`` or ``missing`` for each run."""
    tables: tuple[Table, ...]
    """In the order of the experiment's file."""


def experiment_files(home: Home) -> dict[str, Path]:
    """Name -> ``results.json``, of the experiments of a home that have tables."""
    found = sorted((home.path / _FOLDER).glob("*/results.json"))
    return {path.parent.name: path for path in found if path.parent.name != _STEPS}


def step_counts(home: Home) -> dict[str, int]:
    """How many steps of experiments are done, failed, and neither: under way or stopped."""
    counts = {"done": 0, "failed": 0, "begun": 0}
    for step in (home.path / _FOLDER / _STEPS).glob("*/step.json"):
        state = next((name for name in ("done", "failed") if (step.parent / name).exists()), "begun")
        counts[state] += 1
    return counts


def read_results(path: Path) -> ExperimentResults:
    """Read ``results.json``; raises ValueError, KeyError, TypeError or OverflowError for what is none."""
    told = read_object(path)
    if told["format"] != _EXPERIMENT_FORMAT:
        raise HandsimError(f"{path} has format {told['format']}; this handsim reads {_EXPERIMENT_FORMAT}")
    return ExperimentResults(
        title=str(told["title"]),
        states=tuple(str(run["state"]) for run in told["runs"]),
        tables=tuple(_table(table) for table in told["tables"]),
    )


def _table(told: Mapping[str, Any]) -> Table:
    return Table(
        title=str(told["title"] or told["name"]),
        rows_axis=str(told["rows_axis"]),
        columns_axis=told["columns_axis"],
        where=told["where"],
        rows=tuple(map(str, told["rows"])),
        columns=tuple(
            Column(column["label"], str(column["metric"]), str(column["title"])) for column in told["columns"]
        ),
        cells=tuple(tuple(map(_cell, row)) for row in told["cells"]),
    )


def _cell(told: Mapping[str, Any]) -> Cell:
    return Cell(
        mean=_number(told["mean"]),
        spread=_number(told["spread"]),
        n=int(told["n"]),
        seeds=int(told["seeds"]),
        failed=int(told["failed"]),
        best=bool(told["best"]),
        values=tuple(map(float, told["values"].values())),
    )


def _number(told: Any) -> float | None:
    return None if told is None else float(told)


def spaced(axis: str) -> str:
    """An axis for people."""
    return axis.replace("_", " ")


def as_texts(table: Table, escape: Callable[[str], str]) -> Any:
    """An Arrow table of Markdown, the best in bold with a star; ``escape`` makes texts of files harmless."""
    names = [
        escape(spaced(table.rows_axis)),
        *(escape(table.heading(column)) for column in table.columns),
    ]
    columns: list[list[str]] = [[escape(row) for row in table.rows]]
    for place, column in enumerate(table.columns):
        columns.append([_shown(cells[place], column.digits) for cells in table.cells])
    return pa.table([pa.array(column, pa.string()) for column in columns], names)


def _shown(cell: Cell, digits: int) -> str:
    if cell.mean is None:
        return "failed" if cell.failed else "missing"
    number = f"{cell.mean:.{digits}f}" + ("" if cell.spread is None else f" ± {cell.spread:.{digits}f}")
    if cell.n < cell.seeds:
        return f"{number} ({cell.n} of {cell.seeds} seeds)"
    return f"★ **{number}**" if cell.best else number


class ResultShelf:
    """Reads each file once, and again where it changed. Threads may share it."""

    def __init__(self) -> None:
        """Nothing is read before it is asked for."""
        self.pose_reports = FileMemory(read_pose_report)
        """Of ``pose.json``."""
        self.experiments = FileMemory(read_results)
        """Of an experiment's ``results.json``."""

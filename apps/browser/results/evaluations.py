"""Pose evaluations and experiments of a home, as their files say: ``pose.json`` and ``results.json``.

An evaluation is one `PoseReport`. Those whose estimators differ by their seeds alone form a `PoseGroup`, with
means and standard deviations. Two estimators differ by their seeds alone where their settings are equal,
and those of the runs that they start from (`lineage`). Lengths are in mm.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.training.runs import (
    FACTS_FILE,
    FileCache,
    RunPlace,
    Tail,
    by_tail,
    make_unique,
    owner_of,
    read_object,
)
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.skeleton import JOINT_NAMES
from training.evaluation.report import ALIGNMENTS, FORMAT, REPORT_FILE
from training.experiments.results import ExperimentResults
from training.experiments.tables import Cell

Curves = Mapping[str, NDArray[np.float64]]
"""Alignment -> share [T] of joints within each of the thresholds from 0 to 50 mm."""
Joints = Mapping[str, NDArray[np.float64]]
"""Alignment -> mean error [21] in mm, NaN for a joint that no hand has."""
Objects = FileCache[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class PoseReport:
    """One evaluation of estimated poses: its numbers, and those of the mean pose of the training split."""

    dataset: str
    split: str
    facts: Mapping[str, Any]
    """Where the predictions come from."""
    metrics: Mapping[str, float]
    """By flat name, as ``root_relative_mpjpe_mm``; empty where the split has no truth."""
    mean_pose: Mapping[str, float]
    """The same of the mean pose; empty where it is not known."""
    thresholds_mm: NDArray[np.float64]
    """[T] of the curves."""
    curves: Curves
    mean_pose_curves: Curves
    joints_mm: Joints
    mean_pose_joints_mm: Joints

    @property
    def training(self) -> Mapping[str, Any]:
        """The facts of the estimator's training; empty where they are unknown."""
        training = self.facts.get("training")
        return training if isinstance(training, dict) else {}


def read_pose_report(path: Path) -> PoseReport:
    """Read ``pose.json``; raises ValueError, KeyError, TypeError or OverflowError for one that is damaged."""
    content = read_object(path)
    if content["format"] != FORMAT:
        raise HandsimError(f"{path} has format {content['format']}; this handsim reads {FORMAT}")
    curves, mean_curves = (content[name].get("pck_0_50", {}) for name in ("curves", "mean_pose_curves"))
    report = PoseReport(
        dataset=str(content["settings"]["dataset"]),
        split=str(content["settings"]["split"]),
        facts=content["facts"],
        metrics=_finite(content["metrics"]),
        mean_pose=_finite(content["mean_pose"]),
        thresholds_mm=_array(curves.get("thresholds_mm", [])),
        curves=_curves(curves),
        mean_pose_curves=_curves(mean_curves),
        joints_mm=_joints(content["joint_mpjpe_mm"]),
        mean_pose_joints_mm=_joints(content["mean_pose_joint_mpjpe_mm"]),
    )
    if not isinstance(report.facts, dict):
        raise HandsimError(f"{path}: facts is no JSON object")
    if report.metrics and not report.curves:
        raise HandsimError(f"{path} has numbers and no curve; evaluate again")
    return report


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    values = {name: float(value) for name, value in numbers.items() if value is not None}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _array(numbers: Any) -> NDArray[np.float64]:
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _curves(content: Mapping[str, Any]) -> Curves:
    return {name: _array(content[name]) for name in ALIGNMENTS if name in content}


def _joints(content: Mapping[str, Any]) -> Joints:
    return {
        name: _array(content[name].get(joint) for joint in JOINT_NAMES)
        for name in ALIGNMENTS
        if name in content
    }


_DEEPEST: Final = 8
_NOT_WHAT_IS_LEARNED: Final = ("log", "seed")
_OF_THE_SEED: Final = (
    *("seed", "trained_on", "train_set", "hands", "val_hands", "mean_bone_mm", "batches_done"),
    *("torch", "lightning"),
)
"""Facts of a training that differ between seeds or machines."""


def lineage(place: RunPlace, tails: Mapping[Tail, RunPlace], objects: Objects, depth: int = 0) -> Any:
    """A run's settings but for its seed; ``encoder.init`` becomes the lineage of the run that it names.

    Plain values. Of a run without readable facts, the end of its path.
    """
    config = (objects(place.path / FACTS_FILE) or {}).get("config")
    if not isinstance(config, dict) or depth > _DEEPEST:
        return list(place.tail)
    settings = {name: value for name, value in config.items() if name not in _NOT_WHAT_IS_LEARNED}
    encoder = settings.get("encoder")
    if isinstance(encoder, dict):
        init = encoder.get("init")
        owner = owner_of(str(init), tails)
        origin = init if owner is None else lineage(owner, tails, objects, depth + 1)
        settings["encoder"] = {**encoder, "init": origin}
    return settings


def key_without_seed(report: PoseReport, tails: Mapping[Tail, RunPlace], objects: Objects) -> str:
    """Equal for evaluations on one split whose estimators differ by their seeds alone."""
    checkpoint = str(report.facts.get("checkpoint"))
    owner = owner_of(checkpoint, tails)
    if owner is not None:
        origin = lineage(owner, tails, objects)
    else:
        training = {name: value for name, value in report.training.items() if name not in _OF_THE_SEED}
        origin = [training, None if training else checkpoint]
    which = checkpoint.rsplit("/", 1)[-1]
    return json.dumps([report.dataset, report.split, which, origin], sort_keys=True, default=str)


@dataclass(frozen=True, eq=False)
class Evaluation:
    place: RunPlace
    report: PoseReport

    @property
    def seed(self) -> int | None:
        """Of the training; None where it is unknown."""
        seed = self.report.training.get("seed")
        return seed if isinstance(seed, int) else None


@dataclass(frozen=True, eq=False)
class PoseGroup:
    """Evaluations on one split whose estimators differ by their seeds alone; often a single one."""

    title: str
    """Unlike that of every other group."""
    members: tuple[Evaluation, ...]
    """By seed, each seed once."""

    @property
    def report(self) -> PoseReport:
        """Of the first member: what is not measured is the same for all."""
        return self.members[0].report

    @property
    def seeds(self) -> str:
        """The seeds for people: ``1, 2``."""
        return ", ".join(str(each.seed) for each in self.members if each.seed is not None)

    def mean(self, metric: str) -> float | None:
        """Over the seeds; None where one of them has no such number."""
        cell = self._cell(metric)
        return cell.mean if cell.is_complete else None

    def spread(self, metric: str) -> float | None:
        """The standard deviation over the seeds; None for fewer than two, or where one has no such number."""
        cell = self._cell(metric)
        return cell.spread if cell.is_complete else None

    def _cell(self, metric: str) -> Cell:
        values = [each.report.metrics.get(metric) for each in self.members]
        known = {number: value for number, value in enumerate(values) if value is not None}
        return Cell(known, len(self.members))

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
    reports: FileCache[PoseReport],
    objects: Objects,
    *,
    over_seeds: bool = True,
) -> list[PoseGroup]:
    """All pose evaluations of a home; ``over_seeds`` joins those that differ by their seeds alone.

    Of two with the same seed the later one counts. Those without any truth are left out.
    """
    tails = by_tail(places)
    groups: dict[str, list[Evaluation]] = defaultdict(list)
    for place in places:
        report = reports(place.path / REPORT_FILE)
        if report is not None and report.metrics:
            has_seed = "checkpoint" in report.facts  # not the predictions of another method
            key = key_without_seed(report, tails, objects) if over_seeds and has_seed else place.title
            groups[key].append(Evaluation(place, report))
    members = [_latest_by_seed(each) for each in groups.values()]
    titles = [common_title([each.place.title.removeprefix(_VERB) for each in group]) for group in members]
    titles = make_unique(titles, [group[0].place.tail[1] for group in members])
    return [PoseGroup(title, group) for title, group in zip(titles, members, strict=True)]


_VERB: Final = "evaluate "
"""Titles of experiments' steps begin with it."""


def _latest_by_seed(members: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    by_seed: dict[object, Evaluation] = {}
    for each in sorted(members, key=lambda each: _changed_at(each.place.path / REPORT_FILE)):
        by_seed[each.place.title if each.seed is None else each.seed] = each
    return tuple(sorted(by_seed.values(), key=lambda each: (each.seed or 0, each.place.title)))


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


_SEED_AT_END: Final = re.compile(r",? seed [0-9]+$")
_SHORTEST_NAME: Final = 3


def common_title(titles: Sequence[str]) -> str:
    """One title for several runs: ``first-s1`` and ``first-s2`` become ``first-s*``."""
    if len(titles) == 1:
        return titles[0]
    without_seed = {_SEED_AT_END.sub("", title) for title in titles}
    if len(without_seed) == 1:
        return without_seed.pop()
    start = _common_start(titles)
    end = _common_start([title[len(start) :][::-1] for title in titles])[::-1]
    if len(start) + len(end) < _SHORTEST_NAME:
        return f"{titles[0]} and {len(titles) - 1} more"
    return f"{start}*{end}"


def _common_start(texts: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


def by_error(groups: Sequence[PoseGroup], alignment: str) -> list[PoseGroup]:
    """The groups, the lowest mean error first; those without one last."""

    def error_mm(group: PoseGroup) -> float:
        error = group.mean(f"{alignment}_mpjpe_mm")
        return float("inf") if error is None else error

    return sorted(groups, key=error_mm)


def by_split(groups: Sequence[PoseGroup]) -> dict[str, list[PoseGroup]]:
    """``DATASET SPLIT`` -> its groups: only those can be compared. The split with the most comes first."""
    splits: dict[str, list[PoseGroup]] = defaultdict(list)
    for group in groups:
        splits[f"{group.report.dataset} {group.report.split}"].append(group)
    return dict(sorted(splits.items(), key=lambda each: (-len(each[1]), each[0])))


_EXPERIMENTS: Final = "experiments"
_STEPS: Final = "steps"


def experiment_files(home: Home) -> dict[str, Path]:
    """Name -> ``results.json``, of the experiments of a home that have tables."""
    files = sorted((home.path / _EXPERIMENTS).glob("*/results.json"))
    return {path.parent.name: path for path in files if path.parent.name != _STEPS}


def read_results(path: Path) -> ExperimentResults:
    """Read ``results.json``; raises as `ExperimentResults.from_json` does."""
    return ExperimentResults.from_json(read_object(path))


def step_counts(home: Home) -> dict[str, int]:
    """How many steps of experiments are done, failed, and neither: under way or stopped."""
    counts = {"done": 0, "failed": 0, "begun": 0}
    for step in (home.path / _EXPERIMENTS / _STEPS).glob("*/step.json"):
        state = next((name for name in ("done", "failed") if (step.parent / name).exists()), "begun")
        counts[state] += 1
    return counts

"""Evaluations side by side: those that differ by their seeds alone are one, with a mean and a spread."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.file_memory import FileMemory
from apps.browser.results.lineage import Objects, same_but_seed
from apps.browser.results.pose_report import PoseReport
from apps.browser.runs.places import RunPlace, by_tail
from training.evaluation.report import REPORT_FILE

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

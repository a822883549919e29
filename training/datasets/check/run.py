"""The doctor: checks of a labelled dataset what can be checked without knowing its people and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT
from training.datasets.assemblyhands import AssemblyHands
from training.datasets.check.anatomy import Floats, check_bones, check_sides, check_units
from training.datasets.check.camera import check_depth, check_inside, check_projection
from training.datasets.check.files import check_files
from training.datasets.check.finding import Finding
from training.datasets.check.joint_order import check_joint_order
from training.datasets.check.official import OFFICIAL_HANDS
from training.datasets.check.reading import CheckOptions, Progress, ReadHands, read_hands
from training.datasets.check.report import CheckReport, SplitCount
from training.datasets.layouts.marker import is_synthetic
from training.datasets.names import check_split
from training.datasets.opening import known_splits, open_dataset
from training.datasets.record import StoredDataset

WHOLE_SETS: Final = {
    "dexycb": ("s0_train", "s0_val", "s0_test"),
    "freihand": ("train", "val", "eval"),
    "assemblyhands": ("train", "val"),
}
"""The splits that make up a whole set, where these are not all: some overlap, and the joints of the public
test split of AssemblyHands are withheld."""
_REST_ON_THE_ORDER: Final = ("units", "bone lengths", "left and right")
_NO_LENGTH_RATIO: Final = 0.01
"""A bone that is shorter than that, of its usual length, has both its joints on one spot."""


def check_dataset(
    name: str,
    root: Path,
    splits: Sequence[str] | None = None,
    options: CheckOptions | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check some splits of a dataset together, or those that make up the whole set.

    What keeps a split from being opened is a finding; the others are checked without it. Raises HandsimError
    for a dataset or split that there is none of.
    """
    known = known_splits(name)
    for split in splits or ():
        check_split(name, split, known)
    datasets, opening = _opened(name, root, splits if splits else WHOLE_SETS.get(name, known))
    counts = tuple(_count(dataset, official=not is_synthetic(root)) for dataset in datasets)
    if not sum(count.hands for count in counts):
        return CheckReport(name, root, counts, (opening,), ())
    read = read_hands(datasets, options or CheckOptions(), progress)
    paths = (path for dataset in datasets for index in range(len(dataset)) for path in dataset.files(index))
    findings = (opening, _check_counts(counts), check_files(paths), *read.findings, *_check_labels(read))
    return CheckReport(name, root, counts, findings, tuple(read.samples))


def _opened(name: str, root: Path, splits: Sequence[str]) -> tuple[list[StoredDataset], Finding]:
    datasets, problems = [], []
    for split in splits:
        try:
            datasets.append(open_dataset(name, root, split))
        except HandsimError as error:
            problems.append(f"{split}: {error}")
    if problems:
        others = len(problems) - 1
        more = f" (and {others} more split{'s' * (others > 1)})" if others else ""
        return datasets, Finding("splits", "failed", f"{problems[0]}{more}")
    return datasets, Finding("splits", "passed", f"{', '.join(splits)} can be opened")


def _count(dataset: StoredDataset, *, official: bool) -> SplitCount:
    known = OFFICIAL_HANDS.get(dataset.name, {}) if official else {}
    return SplitCount(dataset.split, len(dataset), dataset.skipped, known.get(dataset.split))


def _check_counts(counts: Sequence[SplitCount]) -> Finding:
    known = [count for count in counts if count.official is not None]
    if not known:
        return Finding("counts", "skipped", "there are no official counts to compare with")
    wrong = [count for count in known if count.hands != count.official]
    numbers = {"wrong_splits": float(len(wrong))}
    if wrong:
        first = wrong[0]
        detail = f"{first.split} has {first.hands:,} hands and not {first.official:,} as the official one"
        return Finding("counts", "failed", detail, numbers)
    return Finding("counts", "passed", "as many hands as in the official splits", numbers)


def _check_labels(read: ReadHands) -> list[Finding]:
    """What can be told by the labels alone."""
    labels = read.labels
    if not labels:
        return [Finding("joints", "skipped", "no hand that was drawn has an annotated joint")]
    whole = [label for label in labels if label.valid.all()]
    hands = np.array([label.joints_3d_mm for label in whole]).reshape(-1, JOINT_COUNT, 3)
    cameras = [check_projection(labels, _annotated_px(read)), check_depth(labels), check_inside(labels)]
    joints = np.stack([label.joints_3d_mm for label in labels])
    bones = check_bones(joints, [label.sample_id for label in labels])
    if bones.numbers.get("shortest_median_ratio", 1.0) < _NO_LENGTH_RATIO:
        reason = "not judged while joints lie on one spot"
        order, units, sides = (
            Finding(check, "skipped", reason) for check in ("joint order", "units", "left and right")
        )
        return [*cameras, order, units, bones, sides]
    order = check_joint_order(hands)
    if order.verdict == "failed":
        reason = "not judged while the order of the joints is wrong"
        return [*cameras, order, *(Finding(check, "skipped", reason) for check in _REST_ON_THE_ORDER)]
    sides = check_sides(hands, [label.side for label in whole])
    return [*cameras, order, check_units(joints), bones, sides]


def _annotated_px(read: ReadHands) -> Floats | None:
    """The 2D joints [N, 21, 2] in the files, or None where those of labels are made of the 3D joints."""
    if read.places[0][0].name == "freihand":
        return None
    annotated = np.stack([label.keypoints_2d_px for label in read.labels])
    for dataset in dict.fromkeys(dataset for dataset, _ in read.places):
        if isinstance(dataset, AssemblyHands):
            rows = [row for row, place in enumerate(read.places) if place[0] is dataset]
            annotated[rows] = dataset.annotated_keypoints_px([read.places[row][1] for row in rows])
    return annotated

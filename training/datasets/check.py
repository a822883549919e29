"""The doctor: checks of a labelled dataset what can be checked without knowing its people and pictures.

Are the files of all samples there, and can they be read?

How many hands the official datasets have in each split.

Reading some of the hands of a dataset, and what cannot be read.

What the doctor found, as a whole.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT
from training.datasets.assemblyhands import AssemblyHands
from training.datasets.layouts import is_synthetic
from training.datasets.open_dataset import known_splits, open_dataset
from training.datasets.record import HandLabel, LabelledHand, StoredDataset, check_split
from training.datasets.sanity import (
    Finding,
    Floats,
    check_bones,
    check_depth,
    check_inside,
    check_joint_order,
    check_projection,
    check_sides,
    check_units,
)


def check_files(paths: Iterable[Path]) -> Finding:
    """Whether all files are there; each folder is listed once, so that millions of files take seconds."""
    folders: dict[Path, frozenset[str]] = {}
    count, missing, first = 0, 0, ""
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = _names(path.parent)
        count += 1
        if path.name not in folders[path.parent]:
            missing += 1
            first = first or str(path)
    numbers = {"files": float(count), "missing": float(missing)}
    if not missing:
        return Finding("files", "passed", f"all {count:,} files are there", numbers)
    return Finding("files", "failed", f"{missing:,} of {count:,} files are missing, such as {first}", numbers)


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


OFFICIAL_HANDS: Final[dict[str, dict[str, int]]] = {
    "freihand": {"train": 123_728, "train_v0": 30_932, "val": 6_512, "eval": 3_960},
    "dexycb": {
        "s0_train": 406_888,
        "s0_val": 22_728,
        "s0_test": 78_768,
        "s1_train": 356_600,
        "s1_val": 47_656,
        "s1_test": 104_128,
        "s2_train": 381_288,
        "s2_val": 63_548,
        "s2_test": 63_548,
        "s3_train": 381_288,
        "s3_val": 50_736,
        "s3_test": 76_360,
    },
}
"""By dataset and split. FreiHAND: 32,560 training hands in four versions, of which 1,628 are our validation
split, and 3,960 for evaluation. DexYCB: the hand annotations in table 9 of the paper (arXiv 2104.04631). For
the public splits of AssemblyHands no count could be confirmed."""


DRAWN: Final = 20
"""How many hands are kept with their pictures."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CheckOptions:
    """How much is looked at."""

    labels: int = 400
    """How many hands' labels are read, drawn from all splits together."""
    pictures: int = 200
    """Of how many of those hands the pictures are decoded, too."""
    seed: int = 0
    """Which hands those are."""

    def __post_init__(self) -> None:
        for name, least in (("labels", 1), ("pictures", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise HandsimError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True, eq=False)
class ReadHands:
    """The hands that were drawn."""

    places: list[tuple[StoredDataset, int]]
    """Where the labels are from, like ``labels``."""
    labels: list[HandLabel]
    """The labels that could be read and have an annotated joint."""
    samples: list[LabelledHand]
    """The first of them with their pictures."""
    findings: tuple[Finding, Finding]
    """Of labels and of pictures: whether all could be read."""


def read_hands(
    datasets: Sequence[StoredDataset], options: CheckOptions, progress: Progress | None
) -> ReadHands:
    """Draw hands from all datasets together and read them."""
    ends = np.cumsum([len(dataset) for dataset in datasets])
    total = int(ends[-1])
    drawn = np.random.default_rng(options.seed).choice(total, min(total, options.labels), replace=False)
    places: list[tuple[StoredDataset, int]] = []
    labels: list[HandLabel] = []
    samples: list[LabelledHand] = []
    bad_labels: list[str] = []
    bad_pictures: list[str] = []
    for number, place in enumerate(drawn.tolist()):
        which = int(np.searchsorted(ends, place, side="right"))
        dataset, index = datasets[which], place - int(ends[which]) + len(datasets[which])
        try:
            label = dataset.label(index)
        except HandsimError as error:
            bad_labels.append(str(error))
            continue
        if label.valid.any():  # none is where the truth is withheld
            places.append((dataset, index))
            labels.append(label)
        if number < options.pictures:
            try:
                sample = dataset[index]
            except HandsimError as error:
                bad_pictures.append(str(error))
            else:
                samples += [sample] * (len(samples) < DRAWN)
        if progress:
            progress(number + 1, len(drawn))
    decoded = min(len(drawn), options.pictures)
    findings = _told("labels", len(drawn), bad_labels), _told("pictures", decoded, bad_pictures)
    return ReadHands(places, labels, samples, findings)


def _told(check: str, count: int, problems: list[str]) -> Finding:
    numbers = {"read": float(count), "unreadable": float(len(problems))}
    if problems:
        detail = f"{len(problems)} of {count} cannot be read: {problems[0]}"
        return Finding(check, "failed", detail, numbers)
    return Finding(check, "passed", f"{count} drawn at random can be read", numbers)


@dataclass(frozen=True)
class SplitCount:
    """How many hands a split has."""

    split: str
    """Its name."""
    hands: int
    """Samples."""
    skipped: int
    """Hands that are none, as no joint of theirs is annotated."""
    official: int | None
    """Samples of the official dataset, where that is known and the set is not made by handsim."""


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What was found in one dataset."""

    name: str
    """The dataset's."""
    root: Path
    """Where it lies."""
    splits: tuple[SplitCount, ...]
    """The splits that could be opened."""
    findings: tuple[Finding, ...]
    """What each check found."""
    samples: tuple[LabelledHand, ...]
    """Hands to be drawn."""

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(finding for finding in self.findings if finding.verdict == "failed")

    def to_json(self) -> dict[str, Any]:
        """All but the samples, of which it has the ids."""
        return {
            "dataset": self.name,
            "root": str(self.root),
            "passed": not self.failed,
            "splits": [asdict(split) for split in self.splits],
            "findings": [asdict(finding) for finding in self.findings],
            "samples": [sample.sample_id for sample in self.samples],
        }


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

"""``handsim dataset check``: is a labelled dataset complete, readable and in our conventions?

What needs no knowledge of the people and images is checked: files, counts, and by the rules in
`training.datasets.sanity` a random sample of labels. Each check gives a `Finding`; a report has them all. It
also names the labels that stand out from the others (`training.datasets.bad_labels`), in a sound set, too,
and on request those that a hand detector contradicts (`training.datasets.second_look`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from handsim.detection import DetectorOptions, open_detector
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT
from training.datasets.assemblyhands import AssemblyHands
from training.datasets.bad_labels import BadLabel, find_bad_labels, merge_bad_labels
from training.datasets.bad_list import BadHand, SplitBadList, fingerprint_of
from training.datasets.generic import GenericHands
from training.datasets.hint import HInt
from training.datasets.interhand import InterHand
from training.datasets.layouts import is_synthetic
from training.datasets.open_dataset import ONLY_IN_2D, WHOLE_DATASETS, known_splits, open_dataset
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
from training.datasets.second_look import take_second_look

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


_NEED_JOINT_ORDER: Final = ("units", "bone lengths", "left and right")
_NO_LENGTH_RATIO: Final = 0.01
"""A bone shorter than that share of its usual length has both joints in one place."""


SAMPLES: Final = 20
"""How many hands a report has with their images."""
WORST_SHOWN: Final = 12
"""How many of the worst labels it has with their images."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CheckOptions:
    labels: int = 400
    """How many labels are read, drawn at random from all splits together."""
    pictures: int = 200
    """Of how many of these hands the images are decoded, too."""
    seed: int = 0
    """Of the draw."""
    all_labels: bool = False
    """Read all labels, whatever ``labels`` is: a list of bad ones is then complete."""
    look: int = 0
    """How many of these hands a detector looks for, and at most as many of those whose labels stand out."""

    def __post_init__(self) -> None:
        for name, least in (("labels", 1), ("pictures", 0), ("seed", 0), ("look", 0)):
            if getattr(self, name) < least:
                raise HandsimError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class SplitCount:
    split: str
    hands: int
    skipped: int
    """Hands without an annotated joint, which are left out."""
    official: int | None
    """Samples of the official dataset; None where that is unknown, or handsim made the dataset."""


@dataclass(frozen=True, eq=False)
class CheckReport:
    name: str
    root: Path
    splits: tuple[SplitCount, ...]
    """The splits that could be opened."""
    findings: tuple[Finding, ...]
    samples: tuple[LabelledHand, ...]
    """Hands with their images, to be shown in a figure."""
    bad: tuple[SplitBadList, ...] = ()
    """The labels that stand out, by split."""
    worst: tuple[tuple[LabelledHand, BadHand], ...] = ()
    """The worst of them with their images."""

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict == "failed")

    def to_json(self) -> dict[str, Any]:
        """As plain values; of the samples only the ids."""
        return {
            "dataset": self.name,
            "root": str(self.root),
            "passed": not self.failed,
            "splits": [asdict(split) for split in self.splits],
            "findings": [asdict(finding) for finding in self.findings],
            "samples": [sample.sample_id for sample in self.samples],
            "bad_labels": sum(len(split.bad) for split in self.bad),
        }


def _check_files(paths: Iterable[Path]) -> Finding:
    """Whether all files exist; each folder is listed once, so that millions of files take seconds."""
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
        return Finding("files", "passed", f"all {count:,} files exist", numbers)
    return Finding("files", "failed", f"{missing:,} of {count:,} files are missing, such as {first}", numbers)


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


_DrawnHands = list[tuple[StoredDataset, int, HandLabel]]
"""Dataset, index and label of hands drawn at random; each has an annotated joint."""


def _read_random(
    datasets: Sequence[StoredDataset], options: CheckOptions, progress: Progress | None
) -> tuple[_DrawnHands, list[LabelledHand], list[Finding]]:
    """Draw hands from all datasets together and read them.

    Returns them, the first ones with their images, and whether all labels and all images are readable.
    """
    ends = np.cumsum([len(dataset) for dataset in datasets])
    total = int(ends[-1])
    count = total if options.all_labels else min(total, options.labels)
    rows = np.random.default_rng(options.seed).choice(total, count, replace=False)
    hands: _DrawnHands = []
    samples: list[LabelledHand] = []
    bad_labels: list[str] = []
    bad_pictures: list[str] = []
    for number, row in enumerate(rows.tolist()):
        which = int(np.searchsorted(ends, row, side="right"))
        dataset, index = datasets[which], row - int(ends[which]) + len(datasets[which])
        try:
            label = dataset.label(index)
        except HandsimError as error:
            bad_labels.append(str(error))
            continue
        if label.valid.any():  # none where the truth is withheld
            hands.append((dataset, index, label))
        if number < options.pictures:
            try:
                sample = dataset[index]
            except HandsimError as error:
                bad_pictures.append(str(error))
            else:
                samples += [sample] * (len(samples) < SAMPLES)
        if progress:
            progress(number + 1, len(rows))
    decoded = min(len(rows), options.pictures)
    findings = [_readable("labels", len(rows), bad_labels), _readable("pictures", decoded, bad_pictures)]
    return hands, samples, findings


def _readable(check: str, count: int, problems: list[str]) -> Finding:
    numbers = {"read": float(count), "unreadable": float(len(problems))}
    if problems:
        detail = f"{len(problems)} of {count} cannot be read: {problems[0]}"
        return Finding(check, "failed", detail, numbers)
    return Finding(check, "passed", f"{count} drawn at random can be read", numbers)


def check_dataset(
    name: str,
    root: Path,
    splits: Sequence[str] | None = None,
    options: CheckOptions | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check some splits of a dataset together, or those that make up the whole dataset.

    A split that cannot be opened is a finding; the others are checked without it. ``progress`` is called for
    labels that were read, then for hands that were looked for. Raises HandsimError for an unknown dataset or
    split, NotThereError for a second look without the detector's networks.
    """
    options = options or CheckOptions()
    detector = open_detector(DetectorOptions()) if options.look else None
    known = known_splits(name)
    for split in splits or ():
        check_split(name, split, known)
    datasets, opened = _open_splits(name, root, splits if splits else WHOLE_DATASETS.get(name, known))
    official = {} if is_synthetic(root) else OFFICIAL_HANDS.get(name, {})
    counts = tuple(
        SplitCount(each.split, len(each), each.skipped, official.get(each.split)) for each in datasets
    )
    if not sum(count.hands for count in counts):
        return CheckReport(name, root, counts, (opened,), ())
    hands, samples, readable = _read_random(datasets, options, progress)
    paths = (path for dataset in datasets for index in range(len(dataset)) for path in dataset.files(index))
    annotated_px = _annotated_px(hands) if hands else None
    named = find_bad_labels([label for _, _, label in hands], annotated_px)
    looked: list[Finding] = []
    if detector is not None:
        with closing(detector):
            second = take_second_look(hands, [each.row for each in named], options.look, detector, progress)
        named, looked = merge_bad_labels(named, second.bad), [second.finding]
    bad = _list_bad(datasets, hands, named)
    findings = (
        *(opened, _check_counts(counts), *_check_people(datasets), _check_files(paths), *readable),
        *_check_labels(hands, annotated_px),
        *looked,
        *([_tell_worst(bad)] if hands else []),
    )
    return CheckReport(name, root, counts, findings, tuple(samples), bad, _read_worst(datasets, bad))


def _list_bad(
    datasets: Sequence[StoredDataset], hands: _DrawnHands, named: Sequence[BadLabel]
) -> tuple[SplitBadList, ...]:
    bad: dict[str, list[BadHand]] = {dataset.split: [] for dataset in datasets}
    for found in named:
        dataset, index, label = hands[found.row]
        bad[dataset.split].append(BadHand(index, label.sample_id, found.reasons, found.excess))
    read = Counter(dataset.split for dataset, _, _ in hands)
    return tuple(
        SplitBadList(
            *(dataset.split, len(dataset), read[dataset.split], fingerprint_of(dataset)),
            bad=tuple(bad[dataset.split]),
        )
        for dataset in datasets
    )


def _tell_worst(bad: Sequence[SplitBadList]) -> Finding:
    """Passed in any case: a few bad labels are in every set that people annotated."""
    hands = sorted((hand for split in bad for hand in split.bad), key=lambda hand: -hand.excess)
    read = sum(split.read for split in bad)
    numbers = {"read": float(read), "named": float(len(hands))}
    if not hands:
        return Finding("worst labels", "passed", f"none of {read:,} stands out", numbers)
    worst = f"{hands[0].sample_id}: {hands[0].reasons[0]}"
    return Finding("worst labels", "passed", f"{len(hands):,} of {read:,} stand out, most {worst}", numbers)


def _read_worst(
    datasets: Sequence[StoredDataset], bad: Sequence[SplitBadList]
) -> tuple[tuple[LabelledHand, BadHand], ...]:
    """The worst labels with their images; those whose image cannot be read are named elsewhere."""
    hands = [(dataset, hand) for dataset, split in zip(datasets, bad, strict=True) for hand in split.bad]
    worst: list[tuple[LabelledHand, BadHand]] = []
    for dataset, hand in sorted(hands, key=lambda pair: -pair[1].excess):
        if len(worst) == WORST_SHOWN:
            break
        with suppress(HandsimError):
            worst.append((dataset[hand.index], hand))
    return tuple(worst)


def _open_splits(name: str, root: Path, splits: Sequence[str]) -> tuple[list[StoredDataset], Finding]:
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
    detail = f"{', '.join(splits)} can be opened{_describe_left_out(datasets)}"
    return datasets, Finding("splits", "passed", detail)


def _describe_left_out(datasets: Sequence[StoredDataset]) -> str:
    """What a dataset has beside hands without an annotated joint that its reader leaves out."""
    two_hands = sum(dataset.interacting for dataset in datasets if isinstance(dataset, InterHand))
    no_picture = sum(dataset.without_pictures for dataset in datasets if isinstance(dataset, HInt))
    if two_hands:
        return f"; without {pluralize(two_hands, 'picture')} of two hands"
    return f"; without {pluralize(no_picture, 'hand')} of Ego4D that have no picture" if no_picture else ""


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


def _check_people(datasets: Sequence[StoredDataset]) -> list[Finding]:
    """Whether nobody is in two splits, where people are the splits' own affair, not the official ones'.

    A finding and no refusal: hands of a single person can be trained on, and measured on that person.
    """
    splits = [dataset for dataset in datasets if isinstance(dataset, GenericHands)]
    if len(splits) < 2:
        return []
    homes: dict[str, list[str]] = {}
    for dataset in splits:
        for person in dataset.people:
            homes.setdefault(person, []).append(dataset.split)
    shared = sorted(person for person, where in homes.items() if len(where) > 1)
    numbers = {"people": float(len(homes)), "in_several_splits": float(len(shared))}
    if not shared:
        return [Finding("people", "passed", f"each of {len(homes):,} is in one split", numbers)]
    where = " and ".join(homes[shared[0]])
    detail = (
        f"{len(shared):,} of {pluralize(len(homes), 'person', 'people')} in several splits, such as "
        f"{shared[0]} in {where}: what is measured there is not of unseen people"
    )
    return [Finding("people", "failed", detail, numbers)]


def _check_labels(hands: _DrawnHands, annotated_px: Floats | None) -> list[Finding]:
    labels = [label for _, _, label in hands]
    if not labels:
        return [Finding("joints", "skipped", "none of the hands that were read has an annotated joint")]
    if not np.isfinite(np.stack([label.joints_3d_mm for label in labels])).any():
        reason = "the set has joints in 2D alone: distance, order, units, bones and sides are not checked"
        return [check_inside(labels), Finding("joints in 3D", "skipped", reason)]
    complete = [label for label in labels if label.valid.all()]
    complete_mm = np.array([label.joints_3d_mm for label in complete]).reshape(-1, JOINT_COUNT, 3)
    cameras = [check_projection(labels, annotated_px), check_depth(labels), check_inside(labels)]
    joints = np.stack([label.joints_3d_mm for label in labels])
    bones = check_bones(joints, [label.sample_id for label in labels])
    if bones.numbers.get("shortest_median_ratio", 1.0) < _NO_LENGTH_RATIO:
        reason = "not checked, because joints lie in one place"
        order, units, sides = (
            Finding(check, "skipped", reason) for check in ("joint order", "units", "left and right")
        )
        return [*cameras, order, units, bones, sides]
    order = check_joint_order(complete_mm)
    if order.verdict == "failed":
        reason = "not checked, because the order of the joints is wrong"
        return [*cameras, order, *(Finding(check, "skipped", reason) for check in _NEED_JOINT_ORDER)]
    sides = check_sides(complete_mm, [label.side for label in complete])
    return [*cameras, order, check_units(joints), bones, sides]


def _annotated_px(hands: _DrawnHands) -> Floats | None:
    """The 2D joints [N, 21, 2] of the files; None where those of labels are projections of the 3D joints."""
    first = hands[0][0]
    if (
        first.name in ONLY_IN_2D
        or first.name in ("freihand", "ho3d", "interhand")
        or (isinstance(first, GenericHands) and not first.has_keypoints)
    ):
        return None
    annotated = np.stack([label.keypoints_2d_px for _, _, label in hands])
    for dataset in dict.fromkeys(dataset for dataset, _, _ in hands):
        if isinstance(dataset, AssemblyHands):
            rows = [row for row, hand in enumerate(hands) if hand[0] is dataset]
            annotated[rows] = dataset.annotated_keypoints_px([hands[row][1] for row in rows])
    return annotated

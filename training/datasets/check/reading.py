"""Reading some of the hands of a dataset, and what cannot be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from handsim.errors import HandsimError
from training.datasets.check.finding import Finding
from training.datasets.record import HandLabel, LabelledHand, StoredDataset

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

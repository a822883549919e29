"""Which hands of a split are trained on where only a share of its labels is to be used.

A smaller share is contained in every larger one of the same seed, so that curves over label fractions differ
by what is added alone. Hands that are one annotation are drawn together: FreiHAND has each hand four times,
before four backgrounds, with the same labels (Zimmermann et al., ICCV 2019), and as one subject. In every
other dataset a hand in a picture is an annotation of its own.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from training.datasets.record import HandDataset

_DRAW: Final = 2
"""Apart from the streams of numbers that `training.pairs.anchors` draws with the same seed."""


def labelled_share(dataset: HandDataset, fraction: float, seed: int) -> NDArray[np.int64]:
    """Rising indices of the hands [n] that make up ``fraction`` of the dataset's annotations, at least one.

    Raises HandsimError for a fraction that is not above 0 and at most 1, and for an empty dataset.
    """
    check_fraction(fraction)
    if len(dataset) == 0:
        raise HandsimError(f"split {dataset.split} of {dataset.name} has no hands; choose another one")
    if fraction == 1:
        return np.arange(len(dataset), dtype=np.int64)
    return drawn_together(_annotations(dataset), fraction, seed)


def _annotations(dataset: HandDataset) -> NDArray[np.int64]:
    """[N] a number for each hand, the same for those that are one annotation."""
    if dataset.name != "freihand":
        return np.arange(len(dataset), dtype=np.int64)
    hands = [dataset.label(row).subject for row in range(len(dataset))]
    return np.unique(hands, return_inverse=True)[1].astype(np.int64)


def drawn_together(groups: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Rising indices of all members of a share of the groups; ``groups`` [N] says which each belongs to."""
    known = np.unique(groups)
    order = np.random.default_rng([_DRAW, seed]).permutation(known)
    # Without the rounding, 0.07 x 100 would be 7.000000000000001 and take eight.
    chosen = order[: max(1, math.ceil(round(fraction * len(known), 6)))]
    return np.flatnonzero(np.isin(groups, chosen)).astype(np.int64)


def check_fraction(fraction: float) -> None:
    """Raises HandsimError for what is no share of the labels."""
    if not 0 < fraction <= 1:
        raise HandsimError(
            f"data.label_fraction is {fraction}; it lies above 0 and goes to 1, where all labels are used"
        )

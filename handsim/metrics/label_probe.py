"""How well labels of hands are predicted from frozen features, always of people left out of training.

The **linear probe** is logistic regression on standardised features. People are split into folds, and the
labels of each fold are predicted by a probe that was trained on the other people alone; its regularisation
is chosen by folds of these. The **nearest hands** of a hand are those of other people. Every prediction is
right or wrong for one hand, so that `handsim.metrics.bootstrap` can draw people.
"""

import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Codes = NDArray[np.integer]
"""A number for each label, or each person."""

FOLDS: Final = 5
INNER_FOLDS: Final = 3
LEAST_PEOPLE: Final = 3
"""One to be predicted, and two to train and to choose the regularisation on."""
INVERSE_REGULARISATIONS: Final = (1e-4, 1e-3, 1e-2, 1e-1)
"""scikit-learn's C of the logistic regression, the first one the strongest."""
VOTERS: Final = 10
"""Nearest hands that vote for a label."""
_ITERATIONS: Final = 200
"""Of the solver. Where it has not converged by then, the features are hardly regularised at all."""
_QUERIES_AT_ONCE: Final = 1024


def probe_linearly(features: NDArray[np.floating], labels: Codes, people: Codes, seed: int = 0) -> Codes:
    """The labels [N] that linear probes predict from features [N, F], of people they are not trained on.

    ``labels`` and ``people`` [N] are codes; there are `LEAST_PEOPLE` people at least. ``seed`` splits
    them into folds. A label that no training person has is never predicted: its hands are wrong.
    """
    predicted = np.empty_like(labels)
    for is_test in _split_people(people, FOLDS, seed):
        train, targets, owners = features[~is_test], labels[~is_test], people[~is_test]
        strength = _choose_regularisation(train, targets, owners, seed)
        predicted[is_test] = _fit_and_predict(train, targets, features[is_test], (strength,))[0]
    return predicted


def find_nearest(vectors: NDArray[np.floating], people: Codes, count: int) -> Codes:
    """Rows [N, K] of the hands nearest to each of N hands among those of other people, nearest first.

    By exact search for the smallest Euclidean distance of ``vectors`` [N, D]. K is ``count``, or N - 1 where
    that is less; -1 stands where a hand has fewer.
    """
    points = vectors.astype(np.float64)
    squares = (points**2).sum(axis=1)
    count = min(count, len(points) - 1)
    rows = np.empty((len(points), count), np.int64)
    for start in range(0, len(points), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        squared = squares[part, None] + squares - 2 * points[part] @ points.T
        squared[people[part, None] == people] = np.inf
        nearest = np.argsort(squared, axis=1, kind="stable")[:, :count]
        is_other = np.isfinite(np.take_along_axis(squared, nearest, axis=1))
        rows[part] = np.where(is_other, nearest, -1)
    return rows


def vote(labels: Codes, nearest: Codes) -> Codes:
    """The label [N] that most of the nearest hands [N, K] have; of equally many, the one of the nearest."""
    found = np.where(nearest >= 0, labels[nearest], -1)
    votes = (found[:, :, None] == found[:, None, :]).sum(axis=2)
    votes[found < 0] = 0
    return np.asarray(np.take_along_axis(found, votes.argmax(axis=1)[:, None], axis=1)[:, 0])


def _choose_regularisation(features: NDArray[np.floating], labels: Codes, people: Codes, seed: int) -> float:
    """The C with which most labels are predicted right; the strongest of equals."""
    right = np.zeros(len(INVERSE_REGULARISATIONS))
    for is_test in _split_people(people, INNER_FOLDS, seed):
        train, targets, test = features[~is_test], labels[~is_test], features[is_test]
        predicted = _fit_and_predict(train, targets, test, INVERSE_REGULARISATIONS)
        right += [(each == labels[is_test]).sum() for each in predicted]
    return INVERSE_REGULARISATIONS[int(right.argmax())]


def _fit_and_predict(
    train: NDArray[np.floating], labels: Codes, test: NDArray[np.floating], strengths: tuple[float, ...]
) -> list[Codes]:
    """The labels of the test hands by each C; every fit starts from the one before."""
    if len(np.unique(labels)) == 1:  # logistic regression wants two
        return [np.full(len(test), labels[0])] * len(strengths)
    scaler = StandardScaler().fit(train.astype(np.float64))
    scaled, scaled_test = (scaler.transform(each.astype(np.float64)) for each in (train, test))
    model = LogisticRegression(max_iter=_ITERATIONS, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [model.set_params(C=each).fit(scaled, labels).predict(scaled_test) for each in strengths]


def _split_people(people: Codes, folds: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Of each fold, which hands [N] are of its people; as many people in one as in another, or one more."""
    names, owners = np.unique(people, return_inverse=True)
    folds = min(folds, len(names))
    fold_of_person = np.random.default_rng(seed).permutation(len(names)) % folds
    for fold in range(folds):
        yield fold_of_person[owners] == fold

"""Labels predicted from features of other people: against what is known, and against slow searches."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.metrics.label_probe import find_nearest, probe_linearly, vote

Codes = NDArray[np.integer]


def _hands(seed: int, people: int = 12, labels: int = 3) -> tuple[NDArray[np.float64], Codes, Codes]:
    """Features [N, 8] in which labels lie apart, labels and people; two hands of each label a person."""
    random = np.random.default_rng(seed)
    owners, shown = (each.ravel() for each in np.meshgrid(np.arange(people), np.arange(labels).repeat(2)))
    centres = 4 * random.normal(size=(labels, 8))
    return centres[shown] + random.normal(size=(len(shown), 8)), shown, owners


def test_labels_are_predicted_of_people_that_were_not_trained_on() -> None:
    features, labels, people = _hands(0)
    assert (probe_linearly(features, labels, people) == labels).mean() > 0.95


def test_what_only_tells_people_apart_predicts_no_label() -> None:
    """Every person has labels of their own kind: whoever had seen them would know."""
    random = np.random.default_rng(1)
    people = np.arange(40).repeat(5)
    features = np.eye(40)[people] + 0.01 * random.normal(size=(200, 40))
    labels = random.integers(0, 2, 40)[people]
    assert (probe_linearly(features, labels, people) == labels).mean() < 0.75
    predicted = vote(labels, find_nearest(features, people, 10))
    assert (predicted == labels).mean() < 0.75


def test_the_regularisation_is_chosen_without_the_people_that_are_predicted() -> None:
    """With all labels of one fold of people changed, that fold is predicted as before."""
    features, labels, people = _hands(2, people=10)
    predicted = probe_linearly(features, labels, people)
    fold = np.random.default_rng(0).permutation(10) % 5
    is_changed = np.isin(people, np.flatnonzero(fold == 0))
    changed = np.where(is_changed, (labels + 1) % 3, labels)
    again = probe_linearly(features, changed, people)
    np.testing.assert_array_equal(predicted[is_changed], again[is_changed])


@pytest.mark.parametrize("people", [3, 4])
def test_few_people_a_label_of_one_person_and_constant_features_are_predicted(people: int) -> None:
    features, labels, owners = _hands(3, people=people)
    labels[owners == 0] += 10  # nobody else has those
    for each in (features, np.ones_like(features)):
        predicted = probe_linearly(each, labels, owners)
        assert np.isin(predicted, labels).all()
        assert (predicted[owners == 0] != labels[owners == 0]).all()


def test_the_nearest_hands_are_those_of_other_people_in_order() -> None:
    random = np.random.default_rng(4)
    vectors, people = random.normal(size=(60, 5)), random.integers(0, 7, 60)
    found = find_nearest(vectors, people, 60)
    assert found.shape == (60, 59)
    for row in range(60):
        others = [other for other in range(60) if people[other] != people[row]]
        others.sort(key=lambda other: float(np.linalg.norm(vectors[other] - vectors[row])))
        assert found[row].tolist() == others + [-1] * (59 - len(others))


def test_most_voters_win_and_of_equally_many_the_nearer_ones() -> None:
    labels = np.array([5, 5, 7, 7, 9])
    nearest = np.array([[4, 0, 2, 3, -1], [2, 0, 1, 3, -1], [4, 0, 2, -1, -1]])
    assert vote(labels, nearest).tolist() == [7, 7, 9]

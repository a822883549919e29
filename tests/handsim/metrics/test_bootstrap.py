"""The bootstrap over people and seeds: against one draw at a time, and by how often the truth is inside."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.metrics.bootstrap import (
    PersonSums,
    bootstrap_interval,
    draw_people,
    sum_by_person,
)

Floats = NDArray[np.float64]


def _errors(seed: int, hands: int = 60, joints: int = 5) -> Floats:
    """Some of them not measured."""
    random = np.random.default_rng(seed)
    errors = random.gamma(2.0, 10.0, (hands, joints))
    errors[random.random(errors.shape) < 0.2] = np.nan
    return errors


def _people(hands: int, people: int) -> list[str]:
    """Some have more hands than others."""
    return [f"person {number**2 % people}" for number in range(hands)]


def _mean_of_draw(errors: Floats, people: list[str], weights: Floats) -> float:
    """Of hands that are written down as often as their person was drawn, joint by joint."""
    names = sorted(set(people))
    rows = [
        errors[row]
        for name, count in zip(names, weights, strict=True)
        for _ in range(int(count))
        for row in range(len(people))
        if people[row] == name
    ]
    joints = np.array(rows).T
    return float(np.mean([np.nanmean(joint) for joint in joints if not np.isnan(joint).all()]))


def test_each_draw_is_the_mean_over_the_hands_of_those_who_were_drawn() -> None:
    people = _people(60, 13)
    runs, others = [_errors(seed) for seed in (1, 2, 3)], [_errors(seed) for seed in (4, 5, 6)]
    (weights,) = draw_people(len(set(people)), 40, seed=7)
    assert (weights.sum(axis=1) == len(set(people))).all()
    slow = [[_mean_of_draw(errors, people, each) for each in weights] for errors in runs + others]
    fast = [sum_by_person(errors, people).means(weights) for errors in runs + others]
    np.testing.assert_allclose(fast, slow, rtol=1e-12)

    differences = np.array(slow[:3]) - np.array(slow[3:])
    full = np.array(
        [
            np.nanmean(a, axis=0).mean() - np.nanmean(b, axis=0).mean()
            for a, b in zip(runs, others, strict=True)
        ]
    )
    noise = np.random.default_rng([1, 7]).standard_t(2, 40)
    expected = np.quantile(differences.mean(axis=0) + full.std(ddof=1) / np.sqrt(3) * noise, [0.025, 0.975])
    found = bootstrap_interval(
        [sum_by_person(errors, people) for errors in runs],
        [sum_by_person(errors, people) for errors in others],
        draws=40,
        seed=7,
    )
    assert found == pytest.approx(tuple(expected))


def test_draws_in_several_portions_are_all_there_and_of_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handsim.metrics.bootstrap._CHUNK_NUMBERS", 100)
    portions = list(draw_people(30, 1000, seed=1))
    assert len(portions) > 100
    weights = np.concatenate(portions)
    assert weights.shape == (1000, 30)
    # A person is drawn once in each draw on average, with the variance of the binomial.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)
    assert weights.var() == pytest.approx(1 - 1 / 30, abs=0.05)


@pytest.mark.parametrize(
    ("person_mm", "seed_mm"), [(6.0, 0.0), (0.0, 2.0), (6.0, 1.0)], ids=["people", "seeds", "both"]
)
def test_intervals_have_the_true_difference_in_them_as_often_as_they_say(
    person_mm: float, seed_mm: float
) -> None:
    """Two methods that differ by 3 mm, over three seeds and forty people: what is hard is hard for both."""
    random = np.random.default_rng(1)
    repetitions, inside, widths = 300, 0, []
    people = [f"{person:02d}" for person in range(40) for _ in range(4)]
    for _ in range(repetitions):
        hard = np.repeat(random.normal(0, 15, 40), 4)  # in common
        own = np.repeat(random.normal(0, person_mm, (2, 40)), 4, axis=1)
        trained = random.normal(0, seed_mm, (2, 3))
        runs = [
            [
                sum_by_person(50 + 3 * method + hard + own[method] + trained[method, seed], people)
                for seed in range(3)
            ]
            for method in range(2)
        ]
        low, high = bootstrap_interval(runs[1], runs[0], draws=1000) or (0.0, 0.0)
        inside += low <= 3 <= high
        widths.append(high - low)
    assert 0.91 <= inside / repetitions <= 0.995
    # Unpaired, the people in common alone would make it 13 mm wide.
    assert person_mm == 0 or np.median(widths) < 13


def test_an_interval_over_people_alone_is_that_of_the_normal_approximation() -> None:
    random = np.random.default_rng(3)
    values = random.normal(20, 5, 400)
    low, high = bootstrap_interval([sum_by_person(values, [str(row) for row in range(400)])]) or (0, 0)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_one_person_has_no_interval_and_people_have_to_be_the_same() -> None:
    alone = sum_by_person(np.arange(3.0), ["a"] * 3)
    assert bootstrap_interval([alone]) is None
    assert alone.mean == 1.0
    pair = sum_by_person(np.arange(3.0), ["a", "b", "b"])
    with pytest.raises(HandsimError, match="not evaluated on the same people"):
        bootstrap_interval([pair], [sum_by_person(np.arange(3.0), ["a", "c", "c"])])


def test_a_person_without_measured_hands_counts_nothing() -> None:
    values = [1.0, 2.0, np.nan, np.nan]
    sums = sum_by_person(values, ["a", "b", "c", "c"])
    assert isinstance(sums, PersonSums)
    assert sums.mean == 1.5
    assert np.isnan(sums.means(np.array([[0.0, 0.0, 3.0]]))).all()
    assert bootstrap_interval([sums]) is not None

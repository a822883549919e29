"""How long is left: from steps that are alike, else from those of the same kind."""

import pytest

from training.experiments.run import DurationEstimator, as_duration
from training.experiments.steps import Kind, Step


def _step(kind: Kind, what: str, seed: int = 1) -> Step:
    return Step(kind, what, {"seed": seed}, seed=seed)


def test_estimates() -> None:
    pace = DurationEstimator()
    simhand, peclr = _step("pretrain", "simhand"), _step("pretrain", "peclr")
    assert pace.seconds(simhand) is None
    pace.add(simhand, 100.0)
    pace.add(_step("pretrain", "simhand", 2), 120.0)
    pace.add(peclr, 50.0)
    assert pace.seconds(_step("pretrain", "simhand", 3)) == 110.0
    assert pace.seconds(peclr) == 50.0
    assert pace.seconds(_step("pretrain", "simclr")) == 90.0
    assert pace.seconds(_step("finetune", "simhand")) is None


def test_what_is_left_is_shared_by_the_slots() -> None:
    pace = DurationEstimator()
    pace.add(_step("pretrain", "peclr"), 50.0)
    left = [_step("pretrain", "peclr", seed) for seed in (2, 3)]
    under_way = {_step("pretrain", "peclr", 4): 20.0, _step("pretrain", "peclr", 5): 70.0}
    assert pace.seconds_left(left, under_way, 2) == ((50 + 50 + 30 + 0) / 2, True)
    assert pace.seconds_left([], {}, 3) == (0.0, True)
    unknown = _step("finetune", "peclr")
    assert pace.seconds_left([*left, unknown], {}, 1) == (100.0, False)
    assert pace.seconds_left(left, {unknown: 3.0}, 1) == (100.0, False)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "0 s"),
        (8, "8 s"),
        (59.6, "1 min 00 s"),
        (192, "3 min 12 s"),
        (3900, "1 h 05 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations_for_people(seconds: float, told: str) -> None:
    assert as_duration(seconds) == told

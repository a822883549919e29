"""A run that was stopped and resumed is, to the bit, the run that was not stopped."""

from pathlib import Path

import pytest
import torch

from tests.training.pretrain.small_runs import Place, assert_equal, at_step, interrupt, weights
from training.runs.checkpoints import LAST

ODD = ["--trainer.accumulate", "2"]
"""Five batches an epoch: the third step takes the last of one epoch and the first of the next."""
ENDING_IN_HALF = [*ODD, "--trainer.epochs", "1"]
"""Its third and last step has one batch."""


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Runs that nobody stopped."""
    place = Place.beside(world, tmp_path_factory.mktemp("whole") / "home")
    torch.set_num_threads(1)
    place.train("plain")
    place.train("odd", ODD)
    place.train("half", ENDING_IN_HALF)
    return place


def stopped_at(place: Place, steps: list[int], overrides: list[str]) -> None:
    """The run ``cut``, interrupted after each of the steps, resumed each time and at last finished."""
    for number, step in enumerate(steps):
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, step, interrupt)
            outcome = place.train("cut", overrides, resume=number > 0)
        assert (outcome.steps, outcome.finished) == (step, False)
        assert place.checkpoint("cut")["global_step"] == step
    assert place.train("cut", overrides, resume=True).finished


@pytest.mark.parametrize(
    ("name", "overrides", "stops"),
    [
        pytest.param("plain", [], [3], id="inside an epoch"),
        pytest.param("plain", [], [5], id="at an epoch's end"),
        pytest.param("plain", [], [2, 7], id="twice"),
        pytest.param("odd", ODD, [1], id="accumulating, inside an epoch"),
        pytest.param("odd", ODD, [3], id="accumulating, in a step over two epochs"),
        pytest.param("half", ENDING_IN_HALF, [2], id="accumulating, with half a step left"),
    ],
)
def test_a_resumed_run_is_equal_to_the_bit(
    whole: Place, place: Place, name: str, overrides: list[str], stops: list[int]
) -> None:
    stopped_at(place, stops, overrides)

    assert place.losses("cut") == whole.losses(name)
    assert [line["step"] for line in place.lines("cut")] == list(range(1, len(place.lines("cut")) + 1))
    for which in ("last.ckpt", "best.ckpt"):
        cut, uncut = place.checkpoint("cut", which), whole.checkpoint(name, which)
        assert_equal(weights(cut), weights(uncut))
        assert cut["handsim"]["batches_done"] == uncut["handsim"]["batches_done"]
        assert cut["lr_schedulers"] == uncut["lr_schedulers"]


def test_a_run_that_is_not_the_same_differs(whole: Place, place: Place) -> None:
    """Else the test above could not fail."""
    place.train("other", ["--seed", "2", "--trainer.max_steps", "1"])
    assert place.losses("other")[0][1] != whole.losses("plain")[0][1]


@pytest.mark.parametrize(("name", "steps"), [("plain", 10), ("odd", 5), ("half", 3)])
def test_optimizer_and_schedule_step_once_a_step(whole: Place, name: str, steps: int) -> None:
    checkpoint = whole.checkpoint(name)
    assert checkpoint["global_step"] == steps
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == steps
    assert {float(state["step"]) for state in checkpoint["optimizer_states"][0]["state"].values()} == {steps}
    assert [line["step"] for line in whole.lines(name)] == [*range(1, steps + 1)]


def test_a_killed_run_forgets_what_came_after_its_checkpoint(whole: Place, place: Place) -> None:
    """Killed after step 4 with the checkpoint of step 3, in the middle of writing a line."""
    overrides = ["--log.checkpoint_every_steps", "3"]

    def die() -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 4, die)
        with pytest.raises(MemoryError):
            place.train("cut", overrides)
    with place.folder("cut").metrics.open("a") as file:
        file.write('{"step": 5, "lo')
    assert place.checkpoint("cut")["global_step"] == 3

    assert place.train("cut", overrides, resume=True).finished
    assert place.losses("cut") == whole.losses("plain")
    assert_equal(weights(place.checkpoint("cut")), weights(whole.checkpoint("plain")))


def test_a_finished_run_has_nothing_to_resume(place: Place) -> None:
    once = ["--trainer.max_steps", "1"]
    place.train("done", once)
    before = place.folder("done").last.read_bytes()
    outcome = place.train("done", once, resume=True)
    assert (outcome.steps, outcome.finished) == (1, True)
    assert place.folder("done").last.read_bytes() == before


def test_the_best_epoch_is_remembered_over_a_resume(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second epoch's loss is higher: what was best before the stop stays best after it."""
    at_step(monkeypatch, 5, interrupt)
    place.train("cut")
    state = place.checkpoint("cut")["callbacks"]["Checkpoints"]
    mean = sum(line["loss"] for line in place.lines("cut")) / 5
    assert state["best"] == pytest.approx(mean, rel=1e-6)
    assert (state["losses"], state["batches"]) == (0.0, 0)
    best = place.checkpoint("cut", "best.ckpt")
    assert best["handsim"]["batches_done"] == 5

    # As if it had been impossibly good.
    path = place.folder("cut").checkpoints / LAST
    last = place.checkpoint("cut")
    last["callbacks"]["Checkpoints"]["best"] = -1.0
    path.unlink()  # it is the best one's file, too
    torch.save(last, path)
    place.train("cut", resume=True)
    assert place.checkpoint("cut")["handsim"]["batches_done"] == 10
    assert place.checkpoint("cut", "best.ckpt")["handsim"]["batches_done"] == 5

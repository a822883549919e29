"""A run that was stopped and resumed is, to the bit, the run that was not stopped."""

import pytest
import torch

from tests.training.finetune.drawn_hands import DrawnHands
from tests.training.finetune.small_runs import BATCHES_AN_EPOCH, Place
from tests.training.pretrain.small_runs import assert_equal, at_step, interrupt, weights


@pytest.mark.parametrize(
    ("name", "overrides", "stops"),
    [
        pytest.param("plain", [], [2], id="inside an epoch"),
        pytest.param("plain", [], [1, BATCHES_AN_EPOCH], id="twice, and at an epoch's end"),
        pytest.param("odd", ["--trainer.accumulate", "2"], [2], id="in a step over two epochs"),
    ],
)
def test_a_resumed_run_is_equal_to_the_bit(
    whole: Place, place: Place, name: str, overrides: list[str], stops: list[int]
) -> None:
    for number, step in enumerate(stops):
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, step, interrupt)
            outcome = place.train("cut", overrides, resume=number > 0)
        assert (outcome.steps, outcome.finished) == (step, False)
        assert place.checkpoint("cut")["global_step"] == step
    assert place.train("cut", overrides, resume=True).finished

    assert place.losses("cut") == whole.losses(name)
    assert place.errors("cut") == whole.errors(name)
    for which in ("last.ckpt", "best.ckpt"):
        cut, uncut = place.checkpoint("cut", which), whole.checkpoint(name, which)
        assert_equal(weights(cut), weights(uncut))
        assert cut["handsim"] == uncut["handsim"]
        assert cut["lr_schedulers"] == uncut["lr_schedulers"]


def test_a_run_that_is_not_the_same_differs(whole: Place, place: Place) -> None:
    """Else the test above could not fail."""
    place.train("other", ["--seed", "2", "--trainer.max_steps", "1"])
    assert place.losses("other")[0][1] != whole.losses("plain")[0][1]


def test_what_a_run_leaves(whole: Place) -> None:
    assert [step for step, _, _ in whole.losses("plain")] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _, _ in whole.errors("plain")] == [3, 6]
    assert [step for step, _, _ in whole.errors("odd")] == [2, 3]
    facts = whole.checkpoint("plain")["handsim"]
    assert (facts["kind"], facts["hands"], facts["val_hands"]) == ("fine-tuning", 14, 5)
    assert (facts["batches_an_epoch"], facts["hands_a_step"]) == (3, 4)
    assert facts["init"] == "random weights"
    bones = [80 * scale for scale in (0.9, 1.1)]
    assert bones[0] < facts["mean_bone_mm"] < bones[1]
    (first, *_) = whole.lines("plain")
    assert first["loss"] == pytest.approx(
        100 * first["loss_heat_map"] + first["loss_delta"] + first["loss_location"], rel=1e-5
    )


def test_best_is_the_epoch_with_the_lowest_error(whole: Place) -> None:
    errors = whole.errors("plain")
    best = min(errors, key=lambda line: line[1])
    assert whole.checkpoint("plain", "best.ckpt")["global_step"] == best[0]
    assert whole.checkpoint("plain")["callbacks"]["Checkpoints"]["best"] == best[1]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["--encoder.architecture=resnet34"], "architecture resnet18, this run has resnet34"),
        (["--trainer.batch_size=5"], "batches an epoch 3, this run has 2"),
        (["--seed=7"], "seed 1, this run has 7"),
        (["--data.label_fraction=0.9"], "trained on"),
    ],
)
def test_another_run_cannot_go_on(whole: Place, overrides: list[str], said: str) -> None:
    before = whole.folder("odd").metrics.read_text()
    with pytest.raises(ValueError, match=said) as told:
        whole.train("odd", ["--trainer.accumulate=2", "--trainer.epochs=3", *overrides], resume=True)
    assert "\n" not in str(told.value)
    assert whole.folder("odd").metrics.read_text() == before


def test_low_precision(place: Place) -> None:
    place.train("low", ["--trainer.precision=bf16-mixed", "--trainer.max_steps=2"])
    assert all(0 < loss < 1000 for _, loss, _ in place.losses("low"))
    assert [line["data_wait"] <= 1 for line in place.lines("low") if "data_wait" in line] == [True, True]
    assert all(0 < error < 1000 for _, *errors in place.errors("low") for error in errors)


def test_hands_of_which_little_is_known_are_trained_on(place: Place) -> None:
    """A whole batch without a joint, one without a scale, and joints that are missing here and there."""
    known = DrawnHands(12, invalid={row: list(range(21)) for row in range(10)} | {10: [0], 11: [3, 9]})
    some = DrawnHands(12, invalid={0: list(range(21)), 1: [4, 5]})
    with pytest.raises(ValueError, match=r"all 12 hands .* have no valid wrist and middle_mcp"):
        place.train("none", trained_on=known)
    outcome = place.train("some", ["--trainer.max_steps=3"], trained_on=some, judged_by=some)
    assert outcome.finished
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(place.checkpoint("some")).values())

"""Fine-tuning: exact resume, frozen trunks, validation and the best checkpoint."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from handsim.errors import HandsimError
from tests.training.builders import assert_equal_checkpoints, at_step, interrupt, stop_and_resume, weights
from tests.training.datasets.builders import listed
from tests.training.drawn_hands import DrawnHands
from tests.training.finetune.conftest import BATCHES_AN_EPOCH, RECIPE, Place
from training.datasets.bad_list import write_bad_list
from training.datasets.record import HandLabel
from training.finetune.config import RECIPES, FinetuneTrainerSettings
from training.finetune.data import MAX_LABELS_READ, mean_bone_length_mm
from training.finetune.module import FinetuneModule
from training.finetune.train import Validation
from training.runs.settings import Schedule

pytestmark = pytest.mark.slow


FROZEN = ["--trainer.freeze_trunk=always"]
"""For tests of all but the trunk: steps and checkpoints then cost a third."""


@pytest.mark.parametrize(
    ("name", "overrides", "stops"),
    [
        pytest.param("plain", [], [2, BATCHES_AN_EPOCH], id="inside an epoch, and at its end"),
        pytest.param("odd", ["--trainer.accumulate", "2"], [2], id="in a step over two epochs"),
    ],
)
def test_a_resumed_run_is_equal_to_the_bit(
    whole: Place, place: Place, name: str, overrides: list[str], stops: list[int]
) -> None:
    stop_and_resume(place, stops, overrides)
    assert place.losses("cut") == whole.losses(name)
    assert place.errors("cut") == whole.errors(name)
    assert_equal_checkpoints(place, whole, name)


def test_a_run_leaves_metrics_and_what_it_was_trained_on(whole: Place) -> None:
    assert [step for step, *_ in whole.losses("plain")] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _, _ in whole.errors("plain")] == [3, 6]
    assert [step for step, _, _ in whole.errors("odd")] == [2, 3]
    metadata = whole.checkpoint("plain")["handsim"]
    assert (metadata["kind"], metadata["hands"], metadata["val_hands"]) == ("fine-tuning", 14, 5)
    assert (metadata["batches_an_epoch"], metadata["hands_a_step"]) == (3, 4)
    assert metadata["init"] == "random weights"
    assert 80 * 0.9 < metadata["mean_bone_mm"] < 80 * 1.1
    (first, *_) = whole.lines("plain")
    assert first["loss"] == pytest.approx(2.5 * first["loss_keypoint"] + first["loss_joint"], rel=1e-5)
    assert first["data_wait"] <= 1


@pytest.mark.parametrize("stop", [None, 3], ids=["never stopped", "an epoch after the best"])
def test_best_is_the_validated_epoch_with_the_lowest_error(
    place: Place, monkeypatch: pytest.MonkeyPatch, stop: int | None
) -> None:
    errors = iter([5.0, 9.0, 7.0])
    monkeypatch.setattr(Validation, "_measure", lambda self, trainer, module: [next(errors), 1.0])
    one_batch_an_epoch = ["--trainer.batch_size=14", "--trainer.epochs=6"]
    overrides = [*FROZEN, *one_batch_an_epoch, "--trainer.validate_every_epochs=2"]
    if stop is not None:
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, stop, interrupt)
            assert not place.train("run", overrides).finished
    assert place.train("run", overrides, resume=stop is not None).finished
    assert [step for step, *_ in place.errors("run")] == [2, 4, 6]
    assert place.checkpoint("run", "best.ckpt")["global_step"] == 2
    assert place.checkpoint("run")["callbacks"]["Checkpoints"]["best"] == 5.0


def test_a_run_that_is_cut_inside_an_epoch_has_a_best_checkpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is validated there, and may be the best: a run shorter than an epoch would have none at all."""
    errors = iter([9.0, 5.0, 7.0])
    monkeypatch.setattr(Validation, "_measure", lambda self, trainer, module: [next(errors), 1.0])
    place.train("run", [*FROZEN, "--trainer.epochs=9", f"--trainer.max_steps={BATCHES_AN_EPOCH + 1}"])
    assert [step for step, *_ in place.errors("run")] == [3, 4]
    assert place.checkpoint("run", "best.ckpt")["global_step"] == 4
    place.train("run", [*FROZEN, "--trainer.epochs=9", "--trainer.max_steps=5"], resume=True)
    assert place.checkpoint("run", "best.ckpt")["global_step"] == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--seed=7", "seed 1, this run has 7"),
        ("--data.label_fraction=0.9", "trained on"),
        ("--encoder.architecture=resnet34", "architecture resnet18, this run has resnet34"),
        ("--trainer.batch_size=5", "batches an epoch 3, this run has 2"),
    ],
)
def test_a_run_with_other_settings_cannot_be_resumed(whole: Place, override: str, message: str) -> None:
    before = whole.folder("odd").metrics.read_text()
    with pytest.raises(ValueError, match=message) as caught:
        whole.train("odd", ["--trainer.accumulate=2", "--trainer.epochs=3", override], resume=True)
    assert "\n" not in str(caught.value)
    assert whole.folder("odd").metrics.read_text() == before


def test_low_precision_gives_finite_losses_and_errors(place: Place) -> None:
    place.train("low", ["--trainer.precision=bf16-mixed", "--trainer.max_steps=1"])
    assert all(0 < loss < 1000 for _, loss, *_ in place.losses("low"))
    assert all(0 < error < 1000 for _, *errors in place.errors("low") for error in errors)


def test_hands_with_few_valid_joints_are_trained_on(place: Place) -> None:
    """A whole batch without a joint, one without a scale, and joints that are missing here and there."""
    known = DrawnHands(12, invalid={row: list(range(21)) for row in range(10)} | {10: [0], 11: [3, 9]})
    some = DrawnHands(12, invalid={0: list(range(21)), 1: [4, 5]})
    with pytest.raises(ValueError, match=r"all 12 hands .* have no valid wrist and middle_mcp"):
        place.train("none", train_set=known)
    outcome = place.train("some", ["--trainer.max_steps=3"], train_set=some, val_set=some)
    assert outcome.finished
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(place.checkpoint("some")).values())


TRUNK, HEAD = "estimator.encoder.", "estimator.head."


def _begin(overrides: list[str]) -> dict[str, Tensor]:
    """The weights that a run begins with."""
    module = FinetuneModule(RECIPES.fill(RECIPE, overrides, "test"), Schedule(3, 6, 6, 4, 1))
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _moved(place: Place, name: str, overrides: list[str]) -> set[str]:
    """The weights that differ from those at the beginning."""
    before, after = _begin(overrides), place.checkpoint(name)["state_dict"]
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_a_trunk_that_is_always_frozen_stays_as_it_is(place: Place, name: str) -> None:
    """Weight decay does not reach it either."""
    overrides = [*FROZEN, f"--optimizer.name={name}", "--optimizer.weight_decay=0.1", "--trainer.max_steps=2"]
    place.train("frozen", overrides)
    heads = [key for key in place.checkpoint("frozen")["state_dict"] if key.startswith(HEAD)]
    assert _moved(place, "frozen", overrides) == set(heads)
    learning = len(place.checkpoint("frozen")["optimizer_states"][0]["state"])
    assert learning == sum(not key.endswith(("mean", "var", "tracked")) for key in heads)


def test_a_trunk_that_is_frozen_for_an_epoch_learns_after_it(place: Place) -> None:
    overrides = ["--trainer.freeze_trunk=1", "--optimizer.weight_decay=0.1"]
    place.train("run", [*overrides, f"--trainer.max_steps={BATCHES_AN_EPOCH}"])
    assert not [key for key in _moved(place, "run", overrides) if key.startswith(TRUNK)]
    place.train("run", [*overrides, f"--trainer.max_steps={BATCHES_AN_EPOCH + 1}"], resume=True)
    moved = _moved(place, "run", overrides)
    assert len([key for key in moved if key.startswith(TRUNK)]) > 100
    assert "estimator.encoder.trunk.bn1.running_mean" in moved


def test_a_trunk_learns_at_its_share_of_the_rate(place: Place) -> None:
    """AdamW's first step moves each weight by the rate, whatever the gradient's size."""
    overrides = ["--trainer.trunk_lr_factor=0.1", "--optimizer.weight_decay=0", "--optimizer.warmup_epochs=0"]
    place.train("run", [*overrides, "--trainer.max_steps=1"])
    before, after = _begin(overrides), place.checkpoint("run")["state_dict"]

    def furthest(part: str) -> float:
        return max(
            float((after[key] - before[key]).abs().max())
            for key in before
            if key.startswith(part) and key.endswith("weight")
        )

    assert furthest(HEAD) == pytest.approx(1e-3, rel=0.01)
    assert furthest(TRUNK) == pytest.approx(1e-4, rel=0.01)


def test_a_length_in_steps_has_its_learning_rate_laid_out_for_it() -> None:
    """Over epochs of any length, and unlike a run that is cut."""
    settings = FinetuneTrainerSettings(epochs=2, steps=10, accumulate=2)
    schedule = Schedule.of(settings, batches_an_epoch=7, processes=1)
    assert (schedule.steps, schedule.full_steps, schedule.batches) == (10, 10, 20)
    cut = Schedule.of(replace(settings, max_steps=4), batches_an_epoch=7, processes=1)
    assert (cut.steps, cut.full_steps) == (4, 10)


def test_a_trunk_learns_from_the_first_step_and_the_seed_matters(whole: Place, place: Place) -> None:
    overrides = ["--trainer.max_steps=1", "--seed=2"]
    place.train("free", overrides)
    moved = _moved(place, "free", overrides)
    assert "estimator.encoder.trunk.bn1.running_mean" in moved
    assert "estimator.encoder.trunk.layer4.1.conv2.weight" in moved
    assert place.losses("free")[0][1] != whole.losses("plain")[0][1]


def test_the_mean_bone_is_that_of_the_hands_that_have_one() -> None:
    dataset = DrawnHands(6, invalid={0: [9], 1: [0], 2: [4]})
    joints = np.stack([dataset.label(row).joints_3d_mm for row in range(2, 6)]).astype(np.float64)
    lengths = np.linalg.norm(joints[:, 9] - joints[:, 0], axis=1)
    assert mean_bone_length_mm(dataset, np.arange(6)) == pytest.approx(np.mean(lengths))
    assert mean_bone_length_mm(dataset, np.array([3])) == pytest.approx(lengths[1])


def test_of_many_hands_the_labels_of_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    label = DrawnHands.label

    def noted(dataset: DrawnHands, index: int) -> object:
        looked.append(index)
        return label(dataset, index)

    monkeypatch.setattr(DrawnHands, "label", noted)
    hands = 3 * MAX_LABELS_READ
    mean_bone_length_mm(DrawnHands(hands), np.arange(hands))
    assert len(looked) == len(set(looked)) == MAX_LABELS_READ
    assert (looked[0], looked[-1]) == (0, hands - 1)
    assert max(np.diff(looked)) <= 4


class _Pointlike(DrawnHands):
    """Hands whose middle finger begins in the wrist."""

    def label(self, index: int):  # type: ignore[no-untyped-def]
        label = super().label(index)
        label.joints_3d_mm[9] = label.joints_3d_mm[0]
        return label


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (DrawnHands(3, invalid={n: [*range(21)] for n in range(3)}), "have no valid joint, so that"),
        (DrawnHands(3, invalid={n: [9] for n in range(3)}), "have no valid wrist and middle_mcp"),
        (_Pointlike(3), "have a bone from wrist to middle_mcp of length 0"),
    ],
)
def test_hands_without_a_size_are_refused(dataset: DrawnHands, message: str) -> None:
    with pytest.raises(HandsimError, match=message) as caught:
        mean_bone_length_mm(dataset, np.arange(3))
    assert str(caught.value).startswith("all 3 hands that were read of split train of drawn")


def test_a_validation_split_without_a_size_is_refused_before_training(place: Place) -> None:
    with pytest.raises(HandsimError, match="split val of drawn have a bone"):
        place.train("run", val_set=_Pointlike(3, "val"))
    assert not place.folder("run").metrics.exists()


class StrayedHands(DrawnHands):
    """Rows 3 and 5 have most of their joints outside of their pictures."""

    def label(self, index: int) -> HandLabel:
        label = super().label(index)
        strays = np.float32(500 if index in (3, 5) else 0)
        return replace(label, keypoints_2d_px=label.keypoints_2d_px + strays)


def test_named_hands_and_hands_outside_of_their_pictures_are_left_out_and_counted(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, train, val = tmp_path / "bad.json", StrayedHands(14), DrawnHands(5, "val", seed=1)
    write_bad_list(path, "drawn", [listed(train, 0, 3), listed(val, 2)])
    read, times_read = Path.read_text, list[Path]()

    def read_and_note(self: Path, encoding: str | None = None, errors: str | None = None) -> str:
        times_read.append(self)
        return read(self, encoding, errors)

    monkeypatch.setattr(Path, "read_text", read_and_note)
    place.train("clean", [*FROZEN, "--data.skip_bad", str(path)], train_set=train, val_set=val)
    assert times_read.count(path) == 1
    metadata = place.checkpoint("clean")["handsim"]
    assert metadata["left_out"] == {"bad": 2, "outside": 1, "val_bad": 1}
    assert (metadata["hands"], metadata["val_hands"]) == (11, 4)
    with pytest.raises(HandsimError, match="is of other labels"):
        place.train("other", ["--data.skip_bad", str(path)], train_set=DrawnHands(14, seed=9))

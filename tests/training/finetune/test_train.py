"""Fine-tuning: exact resume, frozen trunks, validation and the best checkpoint."""

import numpy as np
import pytest
import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.metrics.pose import score_poses
from tests.training.finetune.builders import BATCHES_AN_EPOCH, RECIPE, DrawnHands, Place
from tests.training.pretrain.builders import assert_equal, at_step, interrupt, weights
from training.finetune.config import RECIPES
from training.finetune.data import MAX_LABELS_READ, CropSettings, cut_hand, mean_bone_length_mm
from training.finetune.module import FinetuneModule
from training.finetune.predictor import load_estimator
from training.finetune.train import Validation
from training.runs.settings import Schedule


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


@pytest.mark.parametrize("stop", [None, 7, 10], ids=["never stopped", "after the best", "an epoch later"])
def test_best_is_the_validated_epoch_with_the_lowest_error(
    place: Place, monkeypatch: pytest.MonkeyPatch, stop: int | None
) -> None:
    errors = iter([5.0, 9.0, 7.0])
    monkeypatch.setattr(Validation, "_measure", lambda self, trainer, module: [next(errors), 1.0])
    overrides = ["--trainer.epochs=6", "--trainer.validate_every_epochs=2"]
    if stop is not None:
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, stop, interrupt)
            assert not place.train("run", overrides).finished
    assert place.train("run", overrides, resume=stop is not None).finished
    assert [step for step, *_ in place.errors("run")] == [6, 12, 18]
    assert place.checkpoint("run", "best.ckpt")["global_step"] == 6
    assert place.checkpoint("run")["callbacks"]["Checkpoints"]["best"] == 5.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--encoder.architecture=resnet34"], "architecture resnet18, this run has resnet34"),
        (["--trainer.batch_size=5"], "batches an epoch 3, this run has 2"),
        (["--seed=7"], "seed 1, this run has 7"),
        (["--data.label_fraction=0.9"], "trained on"),
    ],
)
def test_another_run_cannot_go_on(whole: Place, overrides: list[str], message: str) -> None:
    before = whole.folder("odd").metrics.read_text()
    with pytest.raises(ValueError, match=message) as caught:
        whole.train("odd", ["--trainer.accumulate=2", "--trainer.epochs=3", *overrides], resume=True)
    assert "\n" not in str(caught.value)
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
    place.train(name, overrides)
    before, after = _begin(overrides), place.checkpoint(name)["state_dict"]
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_always(place: Place, name: str) -> None:
    """Weight decay does not reach it either."""
    overrides = ["--trainer.freeze_trunk=always", f"--optimizer.name={name}", "--optimizer.weight_decay=0.1"]
    moved = _moved(place, "frozen", overrides)
    assert not [key for key in moved if key.startswith(TRUNK)]
    heads = [key for key in place.checkpoint("frozen")["state_dict"] if key.startswith(HEAD)]
    assert moved == set(heads)
    learning = len(place.checkpoint("frozen")["optimizer_states"][0]["state"])
    assert learning == sum(not key.endswith(("mean", "var", "tracked")) for key in heads)


def test_for_the_first_epochs(place: Place) -> None:
    """After one of two epochs the trunk is as it came; then it learns, too."""
    overrides = ["--trainer.freeze_trunk=1", "--optimizer.weight_decay=0.1"]
    first = [*overrides, "--trainer.max_steps=3"]
    assert not [key for key in _moved(place, "first", first) if key.startswith(TRUNK)]
    moved = _moved(place, "both", overrides)
    assert len([key for key in moved if key.startswith(TRUNK)]) > 100
    assert "estimator.encoder.trunk.bn1.running_mean" in moved


def test_never(place: Place) -> None:
    moved = _moved(place, "free", ["--trainer.max_steps=1"])
    assert "estimator.encoder.trunk.bn1.running_mean" in moved
    assert "estimator.encoder.trunk.layer4.1.conv2.weight" in moved


MISSING = {1: [3, 4, 20], 4: [0], 5: [9], 6: list(range(21))}


def test_errors_are_those_of_the_metrics(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The oracle estimates hand after hand with what the checkpoint holds, and asks `score_poses`."""
    val_set = DrawnHands(7, "val", seed=1, invalid=MISSING)
    place.train("run", ["--trainer.max_steps=3"], val_set=val_set)
    inference = load_estimator(place.folder("run").last, device="cpu")
    predicted, true, valid = [], [], []
    for row in range(7):
        hand = val_set[row]
        crop = torch.tensor(cut_hand(hand, CropSettings(1.75, 32)).crop)
        with torch.no_grad():
            maps = inference.estimator(crop.permute(2, 0, 1)[None].float() / 255)
            joints = inference.estimator.decode(maps).joints[0].double().numpy()
        predicted.append(joints * place.checkpoint("run")["handsim"]["mean_bone_mm"])
        true.append(hand.joints_3d_mm)
        valid.append(hand.valid)
    scores = score_poses(np.stack(predicted), np.stack(true), np.stack(valid))
    ((step, rooted, scaled),) = place.errors("run")
    assert step == 3
    assert rooted == pytest.approx(scores.root_relative.mpjpe_mm, rel=1e-4)
    assert scaled == pytest.approx(scores.root_scale.mpjpe_mm, rel=1e-4)
    summary = f"epoch 1: {rooted:.2f} mm root-relative, {scaled:.2f} mm with the scale aligned, over 7 hands"
    assert summary in capsys.readouterr().out  # beside the progress bar


def test_the_mean_bone_is_that_of_the_hands_that_have_one() -> None:
    dataset = DrawnHands(6, invalid={0: [9], 1: [0], 2: [4]})
    lengths = []
    for row in range(2, 6):
        joints = dataset.label(row).joints_3d_mm.astype(np.float64)
        lengths.append(np.linalg.norm(joints[9] - joints[0]))
    assert mean_bone_length_mm(dataset, np.arange(6)) == pytest.approx(np.mean(lengths))
    assert mean_bone_length_mm(dataset, np.array([3])) == pytest.approx(lengths[1])


def test_of_many_hands_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
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
        (
            DrawnHands(3, invalid={hand: [*range(21)] for hand in range(3)}),
            "have no valid joint, so that",
        ),
        (DrawnHands(3, invalid={hand: [9] for hand in range(3)}), "have no valid wrist and middle_mcp"),
        (_Pointlike(3), "have a bone from wrist to middle_mcp of length 0"),
    ],
)
def test_hands_without_a_size_are_told(dataset: DrawnHands, message: str) -> None:
    with pytest.raises(HandsimError, match=message) as caught:
        mean_bone_length_mm(dataset, np.arange(3))
    assert str(caught.value).startswith("all 3 hands that were read of split train of drawn")


def test_a_split_to_judge_by_without_a_size_is_told_before_training(place: Place) -> None:
    with pytest.raises(HandsimError, match="split val of drawn have a bone"):
        place.train("run", val_set=_Pointlike(3, "val"))
    assert not place.folder("run").metrics.exists()

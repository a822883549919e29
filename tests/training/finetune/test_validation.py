"""The errors that are written each epoch are those of handsim's metrics, hand by hand."""

import numpy as np
import pytest
import torch

from handsim.errors import HandsimError
from handsim.metrics.pose import score_poses
from tests.training.finetune.drawn_hands import DrawnHands
from tests.training.finetune.small_runs import Place
from training.finetune.data import MOST_HANDS, CropSettings, cut_hand, mean_bone_length_mm
from training.finetune.predictor import load_estimator

MISSING = {1: [3, 4, 20], 4: [0], 5: [9], 6: list(range(21))}


def test_errors_are_those_of_the_metrics(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The oracle estimates hand after hand with what the checkpoint holds, and asks `score_poses`."""
    judged_by = DrawnHands(7, "val", seed=1, invalid=MISSING)
    place.train("run", ["--trainer.max_steps=3"], judged_by=judged_by)
    inference = load_estimator(place.folder("run").last, device="cpu")
    predicted, true, valid = [], [], []
    for row in range(7):
        hand = judged_by[row]
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
    told = f"epoch 1: {rooted:.2f} mm root-relative, {scaled:.2f} mm with the scale aligned, over 7 hands"
    assert told in capsys.readouterr().out  # beside the progress bar


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
    hands = 3 * MOST_HANDS
    mean_bone_length_mm(DrawnHands(hands), np.arange(hands))
    assert len(looked) == len(set(looked)) == MOST_HANDS
    assert (looked[0], looked[-1]) == (0, hands - 1)
    assert max(np.diff(looked)) <= 4


class _Pointlike(DrawnHands):
    """Hands whose middle finger begins in the wrist."""

    def label(self, index: int):  # type: ignore[no-untyped-def]
        label = super().label(index)
        label.joints_3d_mm[9] = label.joints_3d_mm[0]
        return label


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (
            DrawnHands(3, invalid={hand: [*range(21)] for hand in range(3)}),
            "have no valid joint, by which",
        ),
        (DrawnHands(3, invalid={hand: [9] for hand in range(3)}), "have no valid wrist and middle_mcp"),
        (_Pointlike(3), "have a bone from wrist to middle_mcp of length 0"),
    ],
)
def test_hands_without_a_size_are_told(dataset: DrawnHands, said: str) -> None:
    with pytest.raises(HandsimError, match=said) as told:
        mean_bone_length_mm(dataset, np.arange(3))
    assert str(told.value).startswith("all 3 hands looked at in split train of drawn")


def test_a_split_to_judge_by_without_a_size_is_told_before_training(place: Place) -> None:
    with pytest.raises(HandsimError, match="split val of drawn have a bone"):
        place.train("run", judged_by=_Pointlike(3, "val"))
    assert not place.folder("run").metrics.exists()


def test_it_is_judged_as_often_as_asked_and_at_the_end(place: Place) -> None:
    place.train(
        "run", ["--trainer.epochs=3", "--trainer.validate_every_epochs=2"], judged_by=DrawnHands(3, "val")
    )
    assert [step for step, _, _ in place.errors("run")] == [6, 9]

"""Every head goes the whole way: trained, kept, loaded, asked as `handsim evaluate pose` and `predict` do."""

from typing import get_args

import numpy as np
import pytest

from tests.training.finetune.drawn_hands import DrawnHands
from tests.training.finetune.small_runs import Place
from training.evaluation.evaluate import predict_split
from training.evaluation.report import score_split
from training.finetune.predictor import load_estimator
from training.models.estimator import HeadName

HANDS = 5


@pytest.mark.parametrize("head", get_args(HeadName))
def test_what_was_trained_is_what_is_asked(place: Place, head: HeadName) -> None:
    """The network in memory is judged at the run's end; what its checkpoint says has the same errors."""
    judged_by = DrawnHands(HANDS, "val", seed=1, invalid={1: [4, 8]})
    steps = ["--trainer.max_steps=2", "--log.figures_every_steps=2"]
    place.train("run", [f"--estimator.head={head}", *steps], judged_by=judged_by)
    assert [*(place.folder("run").path / "figures").iterdir()]
    inference = load_estimator(place.folder("run").last, device="cpu")
    assert inference.config.estimator.head == head

    predicted, true = predict_split(inference, judged_by, batch_size=2)
    assert predicted.camera_3d_mm is not None
    for name, shape in (
        ("joints_3d_mm", (HANDS, 21, 3)),
        ("camera_3d_mm", (HANDS, 21, 3)),
        ("keypoints_2d_px", (HANDS, 21, 2)),
        ("confidence", (HANDS, 21)),
    ):
        array = getattr(predicted, name)
        assert array.shape == shape, name
        assert np.isfinite(array).all(), name
    scores = score_split(predicted, true).metrics
    ((_, rooted, scaled),) = place.errors("run")
    assert scores["root_relative_mpjpe_mm"] == pytest.approx(rooted, rel=1e-4)
    assert scores["root_scale_mpjpe_mm"] == pytest.approx(scaled, rel=1e-4)

    hands = [judged_by[row] for row in range(HANDS)]
    squares = [inference.square(hand.keypoints_2d_px, hand.size_px, hand.valid) for hand in hands]
    cameras = np.stack([hand.intrinsics for hand in hands])
    told = inference.predict([hand.image for hand in hands], np.stack(squares), cameras)
    assert told.joints_3d_mm == pytest.approx(predicted.joints_3d_mm, rel=1e-3, abs=1e-2)
    assert told.keypoints_2d_px == pytest.approx(predicted.keypoints_2d_px, rel=1e-3, abs=1e-2)

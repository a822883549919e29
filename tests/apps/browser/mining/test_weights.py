"""The weights on the mining page are those of the loss."""

import subprocess
import sys

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from apps.browser.mining.measure import WeightForm, pair_weights
from handsim.metrics.retrieval import pose_distance
from training.losses import Weighting, positive_weights
from training.pretrain.module import _WEIGHED_PX

FORMS: tuple[WeightForm, ...] = ("linear", "sigmoid")


@given(st.integers(1, 40), st.sampled_from(FORMS), st.integers(0, 2**31))
def test_pair_weights_are_those_of_the_loss(pairs: int, form: WeightForm, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.random((pairs, 21, 2)).astype(np.float32)
    second = (first + random.normal(scale=random.random((pairs, 1, 1)), size=first.shape)).astype(np.float32)
    anchors, positives = (torch.from_numpy(points) * _WEIGHED_PX for points in (first, second))
    expected = positive_weights(anchors, positives, Weighting("positives", form)).numpy()
    np.testing.assert_allclose(pair_weights(pose_distance(first, second), form), expected, atol=2e-5)


def test_an_anchor_without_a_positive_has_no_weight() -> None:
    weights = pair_weights(np.array([0.1, np.nan, 0.3, 0.2, np.inf]), "linear")
    np.testing.assert_allclose(weights, [1, np.nan, 0, 0.5, np.nan])
    assert len(pair_weights(np.empty(0), "sigmoid")) == 0


def test_opening_the_page_does_not_load_torch() -> None:
    code = "import sys, apps.browser.mining.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

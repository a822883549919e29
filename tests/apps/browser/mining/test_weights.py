"""Weights told without torch are those that pre-training computes with it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apps.browser.mining.measure import LAMBDA, WeightForm, pair_weights
from handsim.metrics.retrieval import pose_distance
from training.losses import Weighting, positive_weights
from training.pretrain.module import _WEIGHED_PX

FORMS: tuple[WeightForm, ...] = ("linear", "sigmoid")


@given(st.integers(1, 40), st.sampled_from(FORMS), st.integers(0, 2**31))
def test_they_are_those_of_the_loss(pairs: int, form: WeightForm, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.random((pairs, 21, 2)).astype(np.float32)
    second = (first + random.normal(scale=random.random((pairs, 1, 1)), size=first.shape)).astype(np.float32)
    weighting = Weighting("positives", form)
    anchors, positives = (torch.from_numpy(points) * _WEIGHED_PX for points in (first, second))
    true = positive_weights(anchors, positives, weighting).numpy()
    np.testing.assert_allclose(pair_weights(pose_distance(first, second), form), true, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_pairs_that_are_all_alike(form: WeightForm) -> None:
    first = np.linspace(0, 1, 42, dtype=np.float32).reshape(1, 21, 2).repeat(3, axis=0)
    second = first + np.float32(0.125)
    told = pair_weights(pose_distance(first, second), form)
    true = positive_weights(torch.from_numpy(first), torch.from_numpy(second), Weighting("both", form))
    np.testing.assert_allclose(told, true.numpy(), atol=1e-6)
    np.testing.assert_allclose(told, 1 if form == "linear" else 0.5)


def test_a_golden_example() -> None:
    apart = np.array([0.1, np.nan, 0.3, 0.2])
    np.testing.assert_allclose(pair_weights(apart, "linear"), [1, np.nan, 0, 0.5])
    curved = 1 / (1 + np.exp(12.8 * np.array([-0.1, np.nan, 0.1, 0.0])))
    np.testing.assert_allclose(pair_weights(apart, "sigmoid"), curved)
    assert pytest.approx(Weighting().lambda_positive * _WEIGHED_PX) == LAMBDA


@pytest.mark.parametrize("form", FORMS)
def test_no_pairs(form: WeightForm) -> None:
    assert len(pair_weights(np.empty(0), form)) == 0
    assert np.isnan(pair_weights(np.array([np.nan, np.inf]), form)).all()


def test_the_page_does_not_load_torch() -> None:
    code = "import sys, apps.browser.mining.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

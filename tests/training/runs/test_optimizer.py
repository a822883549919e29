"""LARS beside a slow oracle in float64, and the learning rate beside its formula."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from handsim.errors import HandsimError
from training.runs.optimizer import LARS, OptimizerSettings, make_optimizer, warmup_cosine

Array = NDArray[np.float64]


class _Oracle:
    """Adam (Kingma and Ba, algorithm 1) on one parameter's gradient, scaled as LARS does."""

    def __init__(self, weight: Array, *, published: bool, decay: float, lr: float) -> None:
        is_bias_or_norm = weight.ndim <= 1
        self.weight, self.adapt, self.lr = weight.copy(), published or not is_bias_or_norm, lr
        self.decay, self.divisor = 0.0 if is_bias_or_norm else decay, lr if published else 1.0
        self.first, self.second = np.zeros_like(weight), np.zeros_like(weight)
        self.steps = 0

    def step(self, gradient: Array) -> None:
        if self.adapt:
            weight_norm = math.sqrt(float((self.weight**2).sum()))
            gradient_norm = math.sqrt(float((gradient**2).sum()))
            gradient = gradient + self.decay * self.weight
            if weight_norm > 0 and gradient_norm > 0:
                local = 0.02 * weight_norm / (gradient_norm + self.decay * weight_norm + 1e-8)
                gradient = gradient * min(local / self.divisor, 1.0)
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        mean = self.first / (1 - 0.9**self.steps)
        square = self.second / (1 - 0.999**self.steps)
        self.weight -= self.lr * mean / (np.sqrt(square) + 1e-8)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 2, bias=False)
    ).double()


@pytest.mark.parametrize("variant", ["capped", "published"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lars_is_equal_to_the_oracle(decay: float, variant: Literal["capped", "published"]) -> None:
    network = _network()
    with torch.no_grad():
        next(network[4].parameters()).zero_()  # no size to scale to
    settings = OptimizerSettings("lars", lr=0.05, scale="none", weight_decay=decay, lars_variant=variant)
    optimizer = make_optimizer(network, settings, samples_a_step=64)
    oracles = [
        _Oracle(parameter.detach().numpy(), published=variant == "published", decay=decay, lr=0.05)
        for parameter in network.parameters()
    ]
    random = np.random.default_rng(1)
    for size in (1.0, 1e-4, 100.0, 1.0, 0.0, 3.0):  # some are scaled, some capped, one is nothing
        for parameter, oracle in zip(network.parameters(), oracles, strict=True):
            gradient = size * random.normal(size=oracle.weight.shape)
            parameter.grad = torch.from_numpy(gradient.copy())
            oracle.step(gradient)
        optimizer.step()
        for parameter, oracle in zip(network.parameters(), oracles, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), oracle.weight, rtol=1e-9, atol=1e-12)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0]


@pytest.mark.parametrize("name", ["lars", "adamw"])
def test_biases_and_batch_norm_are_not_decayed(name: str) -> None:
    """Where no gradient pulls, weight decay alone moves a weight."""
    network = _network()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    settings = OptimizerSettings("adamw" if name == "adamw" else "lars", lr=0.01, weight_decay=0.1)
    optimizer = make_optimizer(network, settings, samples_a_step=4)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {
        name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])
    }
    assert moved == {"0.weight", "3.weight", "4.weight"}


def test_lars_passes_over_what_has_no_gradient() -> None:
    network = _network()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = make_optimizer(network, OptimizerSettings(weight_decay=0.1), samples_a_step=4)
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), before, strict=True))


def test_lars_evaluates_a_closure_with_gradients() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([{"params": [weight], "weight_decay": 0.0, "adapt": True}], lr=0.1)

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    assert optimizer.step(closure) == 4.0
    assert bool((weight < 1).all())


def test_learning_rate_at_its_corners() -> None:
    """No step is wasted on a rate of 0, none ends above the top."""
    assert warmup_cosine(0, 10, 110) == pytest.approx(1 / 11)
    assert warmup_cosine(9, 10, 110) == pytest.approx(10 / 11)
    assert warmup_cosine(10, 10, 110) == 1.0
    assert warmup_cosine(60, 10, 110) == pytest.approx(0.5)
    assert warmup_cosine(35, 10, 110) == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert warmup_cosine(110, 10, 110) == pytest.approx(0.0)
    assert warmup_cosine(0, 0, 5) == 1.0
    assert warmup_cosine(3, 10, 4) == pytest.approx(4 / 11)  # cut before the warm-up was over


@settings(max_examples=30)
@given(warmup=st.floats(0, 50), steps=st.integers(1, 200))
def test_learning_rate_rises_then_falls(warmup: float, steps: int) -> None:
    rates = [warmup_cosine(step, warmup, steps) for step in range(steps + 1)]
    assert all(0 <= rate <= 1 for rate in rates)
    top = math.ceil(warmup)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_rate_grows_with_the_root_of_the_pairs_or_of_the_published_batch() -> None:
    assert OptimizerSettings(lr=1e-4).scaled_lr(8192) == pytest.approx(1e-4 * math.sqrt(8192))
    assert OptimizerSettings(lr=1e-4, scale="none").scaled_lr(8192) == 1e-4
    published = OptimizerSettings(lr=1e-4, scale="published")
    assert published.scaled_lr(8192) == pytest.approx(3.2e-3)  # 1e-4 x sqrt(1024)
    assert published.scaled_lr(8192, accumulate=4) == pytest.approx(6.4e-3)
    optimizer = make_optimizer(_network(), OptimizerSettings(lr=0.5), samples_a_step=16)
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 2.0]


@pytest.mark.parametrize("name", ["lr", "weight_decay", "warmup_epochs"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_settings_out_of_bounds_are_named(name: str, value: float) -> None:
    with pytest.raises(HandsimError, match=rf"optimizer\.{name} is {value}"):
        OptimizerSettings(**{name: value})  # type: ignore[arg-type]

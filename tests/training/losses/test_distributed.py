"""Two processes, each with half of a batch, compute what one computes with the whole."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from handsim.errors import HandsimError
from tests.training.losses.oracle import Batch
from training.losses import Weighting, gather_with_gradient

PROCESSES, PAIRS, NEGATIVES, WIDTH = 2, 12, 6, 10
WEIGHTINGS = {
    "none": Weighting(),
    "positives": Weighting("positives"),
    "both": Weighting("both"),
    "w_abs": Weighting("both", distance="w_abs"),
    "sigmoid": Weighting("both", "sigmoid", lambda_positive=9.0, lambda_negative=5.0),
}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
pytestmark = pytest.mark.slow
cases = pytest.mark.parametrize("name", WEIGHTINGS)
precisions = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
Saved = dict[str, NDArray[Any]]


def whole_batch(dtype: torch.dtype, negatives: int = NEGATIVES) -> Batch:
    batch = Batch.draw(PAIRS, negatives, width=WIDTH, dtype=dtype)
    batch.keypoints2[PAIRS - 2, 3, 0] = torch.nan  # in one process only
    return batch


def share(batch: Batch, rank: int) -> Batch:
    """The rows of one process."""
    parts = {
        name: value[rank * len(value) // PROCESSES : (rank + 1) * len(value) // PROCESSES]
        for name, value in vars(batch).items()
        if value is not None
    }
    return replace(batch, **parts)


def network(dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(WIDTH, WIDTH, dtype=dtype)


def loss_through(trained: nn.Module, batch: Batch, weighting: Weighting) -> Tensor:
    """The loss of a batch whose projections a network makes."""
    assert batch.negatives is not None
    made = trained(torch.cat([batch.z1, batch.z2, batch.negatives]))
    z1, z2, negatives = made.split([len(batch.z1), len(batch.z2), len(batch.negatives)])
    return replace(batch, z1=z1, z2=z2, negatives=negatives).loss(weighting)


def work(rank: int, folder: Path) -> Saved:
    """What each process runs; returns its numbers by name."""
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    address, limit = f"file://{folder / 'rendezvous'}", timedelta(seconds=60)
    distributed.init_process_group("gloo", address, limit, world_size=PROCESSES, rank=rank)
    results: Saved = {}
    for dtype in TOLERANCE:
        for name, weighting in WEIGHTINGS.items():
            own = share(whole_batch(dtype), rank).differentiable()
            loss = own.loss(weighting)
            torch.autograd.backward(loss)
            results[f"{name}-{dtype}-loss"] = loss.detach().numpy()
            for number, gradient in enumerate(own.gradients()):
                results[f"{name}-{dtype}-gradient{number}"] = gradient.numpy()
            parallel = DistributedDataParallel(network(dtype))
            torch.autograd.backward(loss_through(parallel, share(whole_batch(dtype), rank), weighting))
            for number, parameter in enumerate(parallel.parameters()):
                assert parameter.grad is not None
                results[f"{name}-{dtype}-parameter{number}"] = parameter.grad.numpy()
    alone = share(whole_batch(torch.float64, negatives=0), rank)
    results["without negatives"] = alone.loss(WEIGHTINGS["both"]).numpy()
    apart = share(whole_batch(torch.float64), rank).differentiable()
    loss = apart.loss(WEIGHTINGS["both"], over_processes=False)
    torch.autograd.backward(loss)
    results["apart"], results["gradient apart"] = loss.detach().numpy(), apart.gradients()[0].numpy()
    results["gathered"], results["gathered back"] = gather_and_differentiate(rank)
    results["uneven"] = np.array(error_message(share(whole_batch(torch.float32), rank), rank))
    distributed.destroy_process_group()
    return results


def gather_and_differentiate(rank: int) -> tuple[NDArray[Any], NDArray[Any]]:
    own = (torch.arange(6.0).view(3, 2) + 100 * rank).requires_grad_()
    gathered = gather_with_gradient(own)
    # The gradient of each row is its number, and ten times that in process 1.
    slopes = torch.arange(6.0)[:, None] * 10**rank
    (gradient,) = torch.autograd.grad((gathered * slopes).sum(), own)
    return gathered.detach().numpy(), gradient.numpy()


def error_message(batch: Batch, rank: int) -> str:
    pairs = len(batch.z1) - rank
    try:
        replace(batch, z1=batch.z1[:pairs], z2=batch.z2[:pairs]).loss(Weighting())
    except HandsimError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Saved]:
    """The results of both processes."""
    folder = tmp_path_factory.mktemp("processes")
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as processes:
        return list(processes.map(work, range(PROCESSES), [folder] * PROCESSES))


@cases
@precisions
def test_two_processes_have_the_loss_and_the_gradients_of_one(
    saved: list[Saved], name: str, dtype: torch.dtype
) -> None:
    batch, alone, atol = whole_batch(dtype).differentiable(), network(dtype), TOLERANCE[dtype]
    loss = batch.loss(WEIGHTINGS[name])
    assert np.mean([one[f"{name}-{dtype}-loss"] for one in saved]) == pytest.approx(loss.item(), abs=atol)
    torch.autograd.backward(loss)
    for number, expected in enumerate(batch.gradients()):
        # Each process's are of the sum of both losses: DistributedDataParallel halves them.
        gradients = [one[f"{name}-{dtype}-gradient{number}"] for one in saved]
        np.testing.assert_allclose(np.concatenate(gradients) / PROCESSES, expected, rtol=0, atol=atol)
    torch.autograd.backward(loss_through(alone, whole_batch(dtype), WEIGHTINGS[name]))
    for number, parameter in enumerate(alone.parameters()):
        assert parameter.grad is not None
        for one in saved:
            gradient = one[f"{name}-{dtype}-parameter{number}"]
            np.testing.assert_allclose(gradient, parameter.grad, rtol=0, atol=atol)


def test_batches_without_negatives_have_the_same_loss(saved: list[Saved]) -> None:
    expected = whole_batch(torch.float64, negatives=0).loss(WEIGHTINGS["both"]).item()
    assert np.mean([one["without negatives"] for one in saved]) == pytest.approx(expected, abs=1e-12)


def test_without_the_other_processes_each_has_the_loss_of_its_own_batch(saved: list[Saved]) -> None:
    for rank, one in enumerate(saved):
        own = share(whole_batch(torch.float64), rank).differentiable()
        loss = own.loss(WEIGHTINGS["both"])
        torch.autograd.backward(loss)
        assert float(one["apart"]) == pytest.approx(loss.item(), abs=1e-12)
        np.testing.assert_allclose(one["gradient apart"], own.gradients()[0], rtol=0, atol=1e-12)


def test_rows_are_gathered_in_order_and_gradients_summed(saved: list[Saved]) -> None:
    rows = np.arange(6.0).reshape(3, 2)
    for rank, one in enumerate(saved):
        np.testing.assert_array_equal(one["gathered"], np.concatenate([rows, rows + 100]))
        expected = 11 * np.arange(6.0).reshape(2, 3)[rank]
        np.testing.assert_array_equal(one["gathered back"], np.repeat(expected[:, None], 2, axis=1))


def test_uneven_batches_are_refused_by_both(saved: list[Saved]) -> None:
    for one in saved:
        assert "the processes have 6, 5 pairs; give each as many" in str(one["uneven"])


def test_one_process_gathers_its_own_rows() -> None:
    own = torch.ones(3, 2, requires_grad=True)
    assert gather_with_gradient(own) is own

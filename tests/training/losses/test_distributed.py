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
from training.losses import (
    Hands,
    NearMask,
    NearNegatives,
    ProjectionQueue,
    Weighting,
    gather_with_gradient,
    nt_xent,
)
from training.losses.distributed import alone as each_alone

PROCESSES, PAIRS, NEGATIVES, WIDTH = 2, 12, 6, 10
WEIGHTINGS = {
    "none": Weighting(),
    "positives": Weighting("positives"),
    "both": Weighting("both"),
    "w_abs": Weighting("both", distance="w_abs"),
    "sigmoid": Weighting("both", "sigmoid", lambda_positive=9.0, lambda_negative=5.0),
    "normalised": Weighting("both", normalised=True),
    "normalised sigmoid": Weighting("both", "sigmoid", lambda_negative=5.0, normalised=True),
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
    with each_alone():
        loss = apart.loss(WEIGHTINGS["both"])
    torch.autograd.backward(loss)
    results["apart"], results["gradient apart"] = loss.detach().numpy(), apart.gradients()[0].numpy()
    results["gathered"], results["gathered back"] = gather_and_differentiate(rank)
    results |= near_negatives_of_a_share(rank)
    results["uneven"] = np.array(error_message(share(whole_batch(torch.float32), rank), rank))
    distributed.destroy_process_group()
    return results


def hands_of_batch() -> Hands:
    """Those of a whole batch: anchors, positives, negatives."""
    random = torch.Generator().manual_seed(2)
    count = 2 * PAIRS + NEGATIVES
    hand_ids = torch.randint(0, 9, (count,), generator=random)
    return Hands(hand_ids, hand_ids // 3, torch.rand(9, 3, generator=random)[hand_ids])


def share_of_hands(hands: Hands, rank: int) -> Hands:
    """Those of one process, in the same order."""
    roles = [PAIRS, 2 * PAIRS]
    parts = [
        torch.cat([part.chunk(PROCESSES)[rank] for part in torch.tensor_split(each, roles)])
        for each in hands.tensors
    ]
    return Hands(*parts)


NEAR = NearNegatives(within=1.0, weight=0.25, same_video=True)


def near_loss(batch: Batch, hands: Hands, queue: ProjectionQueue) -> tuple[Tensor, float]:
    """Of a batch whose projections were in the queue a step ago, and how many negatives were near."""
    assert batch.negatives is not None
    pairs = len(batch.z1)
    queue.push(torch.cat([batch.z1, batch.z2]), None, hands.first(2 * pairs))
    near = NearMask(NEAR, hands, pairs, queue.hands)
    loss = nt_xent(batch.z1, batch.z2, negatives=batch.negatives, queue=queue.projections, near=near)
    return loss, near.found


def near_negatives_of_a_share(rank: int) -> Saved:
    batch, hands = (
        share(whole_batch(torch.float64), rank).differentiable(),
        share_of_hands(hands_of_batch(), rank),
    )
    loss, found = near_loss(batch, hands, ProjectionQueue(2 * PAIRS))
    torch.autograd.backward(loss)
    saved = {f"near-gradient{number}": gradient.numpy() for number, gradient in enumerate(batch.gradients())}
    # The first process has learned of a new version, with longer vectors.
    longer = replace(hands, vectors=torch.rand(len(hands), 4 + rank))
    unknown, version = longer.of_one_version(7 + rank)
    assert torch.isnan(unknown.vectors).all()
    mixed = nt_xent(batch.z1, batch.z2, near=NearMask(NearNegatives(1.0), unknown.first(PAIRS), PAIRS // 2))
    return {
        "near": loss.detach().numpy(),
        "near found": np.array(found),
        "mixed": mixed.detach().numpy(),
        "mixed version": np.array([version, hands.of_one_version(7)[1]]),
        **saved,
    }


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


def test_two_processes_find_the_near_negatives_of_one(saved: list[Saved]) -> None:
    batch = whole_batch(torch.float64).differentiable()
    loss, found = near_loss(batch, hands_of_batch(), ProjectionQueue(2 * PAIRS))
    torch.autograd.backward(loss)
    assert found > 1
    assert np.mean([one["near"] for one in saved]) == pytest.approx(loss.item(), abs=1e-12)
    assert np.mean([one["near found"] for one in saved]) == pytest.approx(found, abs=1e-6)
    for number, expected in enumerate(batch.gradients()):
        gradients = np.concatenate([one[f"near-gradient{number}"] for one in saved])
        np.testing.assert_allclose(gradients / PROCESSES, expected, rtol=0, atol=1e-12)


def test_nothing_is_near_while_processes_have_different_index_versions(saved: list[Saved]) -> None:
    expected = replace(whole_batch(torch.float64), negatives=None).loss(Weighting()).item()
    assert np.mean([one["mixed"] for one in saved]) == pytest.approx(expected, abs=1e-12)
    assert [one["mixed version"].tolist() for one in saved] == [[0, 7], [0, 7]]


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

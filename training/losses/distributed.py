"""A batch that several processes share (torch.distributed). With one process, everything is the identity."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

_IS_ALONE: Final = ContextVar("is_alone", default=False)


@contextmanager
def alone(is_alone: bool = True) -> Iterator[None]:
    """In this block each process has a batch of its own; nothing is asked of the others."""
    token = _IS_ALONE.set(is_alone)
    try:
        yield
    finally:
        _IS_ALONE.reset(token)


def get_world_size() -> int:
    """How many processes share the batch."""
    if _IS_ALONE.get():
        return 1
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def get_rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if get_world_size() > 1 else 0


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """The rows [n, ...] of every process as one tensor [world size x n, ...], in the order of ranks.

    Its gradient is the sum of the gradients that all processes have for this process's rows. If each process
    takes the mean loss over its own rows, the mean of gradients that DistributedDataParallel makes is the
    gradient of the mean over the whole batch. Every process must call this, and backward, with tensors of the
    same shape and dtype (gloo or NCCL).
    """
    if get_world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


def gather(tensor: Tensor) -> Tensor:
    """The same without a gradient."""
    if get_world_size() == 1:
        return tensor.detach()
    gathered = tensor.new_empty(get_world_size() * len(tensor), *tensor.shape[1:])
    distributed.all_gather_into_tensor(gathered, tensor.detach().contiguous())
    return gathered


def own_rows_first(gathered: Tensor, rows: int) -> Tensor:
    """Gathered columns in the order of denominators: own rows, those of other ranks, then all negatives.

    Of what every process gathered, the first ``rows`` are rows.
    """
    per_rank = gathered.view(get_world_size(), -1, *gathered.shape[1:])
    hands, negatives = per_rank[:, :rows], per_rank[:, rows:]
    return torch.cat([hands.roll(-get_rank(), 0).flatten(0, 1), negatives.flatten(0, 1)])


def maximum_over_ranks(tensor: Tensor) -> Tensor:
    """The largest of each number [...] over all processes."""
    return _reduce(tensor, distributed.ReduceOp.MAX) if get_world_size() > 1 else tensor


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of each number [...] over all processes."""
    return _reduce(tensor, distributed.ReduceOp.SUM) if get_world_size() > 1 else tensor


def _reduce(tensor: Tensor, operation: "distributed.ReduceOp.RedOpType") -> Tensor:
    reduced = tensor.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(reduced, operation)
    return reduced


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        return gather(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        first = get_rank() * ctx.rows
        return sum_over_ranks(gradient)[first : first + ctx.rows]

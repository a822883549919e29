"""The batch of all processes, in each of them. Where there is one alone, everything stays as it is."""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def get_world_size() -> int:
    """How many processes share the batch."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def get_rank() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if get_world_size() > 1 else 0


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """The rows of all processes' tensors, [n, ...] from each, as [ranks x n, ...] in the order of ranks.

    Its gradient is the sum of what all processes say of this one's rows: where each process's loss is the
    mean over its own rows, DistributedDataParallel's mean of gradients is the gradient of the whole batch's
    mean. Every process calls it, and backward, alike, with tensors of one shape and dtype (gloo or NCCL).
    """
    if get_world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


def gather(tensor: Tensor) -> Tensor:
    """The same without a gradient."""
    if get_world_size() == 1:
        return tensor.detach()
    everyone = tensor.new_empty(get_world_size() * len(tensor), *tensor.shape[1:])
    distributed.all_gather_into_tensor(everyone, tensor.detach().contiguous())
    return everyone


def maximum_over_ranks(tensor: Tensor) -> Tensor:
    """The largest of each number [...] over all processes."""
    return _over_ranks(tensor, distributed.ReduceOp.MAX) if get_world_size() > 1 else tensor


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of each number [...] over all processes."""
    return _over_ranks(tensor, distributed.ReduceOp.SUM) if get_world_size() > 1 else tensor


def _over_ranks(tensor: Tensor, operation: "distributed.ReduceOp.RedOpType") -> Tensor:
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

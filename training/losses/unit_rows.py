"""Vectors brought to length 1."""

from typing import Final

import torch
from torch import Tensor

_SHORTEST: Final = 1e-12


def unit_rows(vectors: Tensor) -> Tensor:
    """Each row of [N, M] divided by its length; half precision becomes float32, float64 stays.

    A row shorter than 1e-12 has no direction: it stays as it is, and so does its gradient, where dividing
    would make it infinite.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.div(vectors, lengths.where(lengths > _SHORTEST, 1.0))

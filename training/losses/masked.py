"""Means over what is known."""

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values [...] where the mask [...] is true, a scalar; 0, and so its gradient, if it never is.

    Elsewhere values may be anything; their gradient is 0.
    """
    return values.where(mask, 0.0).sum() / mask.sum().clamp(min=1)

"""DetNet's losses: how far predicted maps are from the true ones (Zhou et al., CVPR 2020, arXiv 2003.09572).

Each is a mean over the joints that count, so that more or fewer annotated joints do not change its size.
"""

from torch import Tensor

from training.losses.masked import masked_mean


def heat_map_loss(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """Half the mean squared error of a heat map, times the number of joints; a scalar.

    ``predicted`` and ``true`` [B, 21, H, H]; only joints that are ``valid`` [B, 21] count.
    """
    errors = (predicted.to(true) - true).square().mean((2, 3))
    return 0.5 * true.shape[1] * masked_mean(errors, valid)


def weighted_map_loss(predicted: Tensor, true: Tensor, heat_maps: Tensor, valid: Tensor) -> Tensor:
    """Squared error of 3D maps summed over their cells, each weighted by the true heat map; a scalar.

    The paper's || H * (L - L') ||_F^2 of ``predicted`` L [B, 21, 3, H, H] and vectors ``true`` [B, 21, 3],
    the same in every cell; ``heat_maps`` H [B, 21, H, H] are the true ones. Only joints that are ``valid``
    [B, 21] count; ``true`` is finite for the others, too.
    """
    errors = (predicted.to(true) - true[..., None, None]) * heat_maps[:, :, None]
    return masked_mean(errors.square().sum((2, 3, 4)), valid)

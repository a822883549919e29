"""PeCLR's equivariance (Spurr et al., ICCV 2021, arXiv 2106.05953): a view's rotation and translation are
undone on its projection before the loss.

A projection of M numbers is read as M/2 points (x, y), which should move as the hand in the view does. If the
hand was moved by a share of the view's side, the points move by that share of their own extent; if it was
turned, they turn about their mean. Scale is not undone.
"""

import torch
from torch import Tensor

from handsim.errors import HandsimError
from training.losses.nt_xent import normalise_rows


def undo_motion(projections: Tensor, translation: Tensor, angle_deg: Tensor) -> Tensor:
    """Projections [N, M], of length 1, as if their views had been neither moved nor turned.

    Each row of ``projections`` [N, M] is normalised and read as M/2 points. ``translation`` [N, 2], in sides
    of the view, times their extent (max - min, per axis) is subtracted; they are turned about their mean by
    minus ``angle_deg`` [N], which is positive counter-clockwise as displayed (OpenCV's getRotationMatrix2D);
    and the row is normalised again. Extent and mean are constants to the gradient. Half precision becomes
    float32, also under autocast. Raises HandsimError for an odd M and for shapes that do not fit.
    """
    if projections.ndim != 2 or projections.shape[1] % 2 or not projections.shape[1]:
        raise HandsimError(
            f"projections are {list(projections.shape)}; "
            f"they are [N, M] with an even M, to be read as M/2 points (x, y)"
        )
    hands = len(projections)
    if translation.shape != (hands, 2) or angle_deg.shape != (hands,):
        raise HandsimError(
            f"translation is {list(translation.shape)} and angle_deg {list(angle_deg.shape)}; "
            f"for {hands} projections they are [{hands}, 2] and [{hands}]"
        )
    points = normalise_rows(projections).view(hands, -1, 2)
    low, high = points.detach().aminmax(dim=1, keepdim=True)
    points = points - translation.to(points)[:, None] * (high - low)
    mean = points.detach().mean(1, keepdim=True)
    x, y = (points - mean).unbind(-1)
    angle = -angle_deg.to(points).deg2rad()[:, None]
    cosine, sine = angle.cos(), angle.sin()
    # No matrix product: autocast, or TF32 on a GPU, would round it as it rounds the network's.
    turned = torch.stack([cosine * x + sine * y, cosine * y - sine * x], dim=-1)
    return normalise_rows((turned + mean).flatten(1))

"""PeCLR's equivariance: what augmentation did to a view is undone on its projection (arXiv 2106.05953).

A projection of M numbers is read as M/2 points (x, y), which are to move as the hand in the view does: a
translation by a share of the view moves them by that share of their own extent, a rotation turns them about
their mean.
"""

from typing import Final

import torch
from torch import Tensor

from handsim.errors import HandsimError
from training.losses.nt_xent import unit_rows

_VIEW_CENTRE: Final = 0.5


def undo_motion(projections: Tensor, translation: Tensor, angle_deg: Tensor) -> Tensor:
    """Projections [N, M], of length 1, as if their views had been neither moved nor turned.

    Each of ``projections`` [N, M] is brought to length 1 and read as M/2 points; ``translation`` [N, 2], in
    shares of the view's side, times their extent (max - min of x and of y) is taken away; they are turned by
    minus ``angle_deg`` [N] about their mean, in OpenCV's convention (positive is counter-clockwise as
    displayed, y pointing down); and brought to length 1 again. Extent and mean are constants to the gradient.
    `motion_of` reads translation and angle off a view's affine. Scale is not undone. Half precision is lifted
    to float32, under autocast too. Raises HandsimError for an odd M and for shapes that do not fit.
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
    points = unit_rows(projections).view(hands, -1, 2)
    low, high = points.detach().aminmax(dim=1, keepdim=True)
    points = points - translation.to(points)[:, None] * (high - low)
    mean = points.detach().mean(1, keepdim=True)
    turned = _turn(points - mean, -angle_deg.to(points)) + mean
    return unit_rows(turned.flatten(1))


def motion_of(affine: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Translation [N, 2] and angle [N] in degrees, as `undo_motion` takes them, of views' affines.

    ``affine`` [N, 2, 3] maps the crop's unit square to the view's; ``centre`` [N, 2] is the point of the
    crop's unit square that a view which was not moved has in its middle. The translation is how far from the
    middle it is, in shares of the view's side. The angle is that of the affine's rotation, positive
    counter-clockwise as displayed: its linear part is scale x [[cos, sin], [-sin, cos]]. Raises HandsimError
    for other shapes.
    """
    if affine.shape[1:] != (2, 3) or centre.shape != (len(affine), 2):
        raise HandsimError(
            f"affine is {list(affine.shape)} and centre {list(centre.shape)}; they are [N, 2, 3] and [N, 2]"
        )
    linear, offset = affine[:, :, :2], affine[:, :, 2]
    # No matrix product, here and below: autocast, or a GPU, would round it as it rounds the network's.
    translation = (linear * centre[:, None]).sum(2) + offset - _VIEW_CENTRE
    angle = torch.atan2(linear[:, 0, 1] - linear[:, 1, 0], linear[:, 0, 0] + linear[:, 1, 1])
    return translation, angle.rad2deg()


def _turn(points: Tensor, angle_deg: Tensor) -> Tensor:
    """Turn points [N, P, 2] about the origin as OpenCV's getRotationMatrix2D does."""
    angle = angle_deg.deg2rad()[:, None]
    cosine, sine = angle.cos(), angle.sin()
    x, y = points.unbind(-1)
    return torch.stack([cosine * x + sine * y, cosine * y - sine * x], dim=-1)

"""NT-Xent (SimCLR, arXiv 2002.05709, equation 1) and its weighted form (SiMHand, arXiv 2502.15251)."""

import math

import torch
from torch import Tensor

from handsim.errors import HandsimError
from training.losses.denominators import mean_log_denominator
from training.losses.gathering import gather, gather_with_gradient, own_rank, ranks
from training.losses.shapes import check_alike_over_ranks, check_keypoints, check_projections
from training.losses.unit_rows import unit_rows
from training.losses.weighting import Weighting
from training.losses.weights import DenominatorWeights, weights_in_whole_batch

_UNWEIGHTED = Weighting()


def nt_xent(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.5,
    weighting: Weighting = _UNWEIGHTED,
    keypoints1: Tensor | None = None,
    keypoints2: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_keypoints: Tensor | None = None,
) -> Tensor:
    """Mean over the 2N rows i of -log( exp(w_pos c_pos / t) / sum_{k != i} exp(w_ik c_ik / t) ), a scalar.

    c are the cosines of the projections ``z1`` and ``z2`` [N, M], row by row a positive pair; they are
    brought to length 1 here, so their scale has no say (a zero row has cosine 0 to all). The positive is in
    the denominator, and carries the denominator's weight there. ``negatives`` [R, M] are more hands for every
    row's denominator; they are no rows themselves. Weights are those of ``weighting``
    (`training.losses.weights`), from the views' 2D keypoints ``keypoints1`` and ``keypoints2`` [N, 21, 2] and
    the negatives' ``negative_keypoints`` [R, 21, 2], of any floating dtype and one unit, without a gradient.
    Keypoints that ``weighting`` does not need are not looked at.

    Half precision is lifted to float32, under autocast too; the loss is float32, or float64 for float64. It
    can be differentiated once.

    Where torch.distributed runs on several processes, each gives its own pairs and negatives, as many as the
    others, and its rows meet the columns of all; max, min and mean of distances are over all. It returns the
    mean over its own rows: the mean of that over processes is the loss of the whole batch, and
    DistributedDataParallel makes the same of the gradients.

    Raises HandsimError for no pairs, for shapes that do not fit, for keypoints that are needed and missing,
    for a temperature that is not above 0, and where processes give batches of different sizes.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise HandsimError(f"temperature is {temperature}; it is a number above 0, the paper's is 0.5")
    check_projections(z1, z2, negatives)
    if negatives is not None and not len(negatives):
        negatives = negative_keypoints = None
    with torch.autocast(z1.device.type, enabled=False):
        own = unit_rows(torch.cat([z1, z2]))
        further = own.new_empty(0, own.shape[1]) if negatives is None else unit_rows(negatives).to(own.dtype)
        points = []
        if weighting.positives or weighting.negatives:
            named = (("keypoints1", keypoints1), ("keypoints2", keypoints2))
            points = [check_keypoints(name, given, len(z1)).detach().to(own) for name, given in named]
        if weighting.negatives and negatives is not None:
            checked = check_keypoints("negative_keypoints", negative_keypoints, len(negatives))
            points.append(checked.detach().to(own))
        check_alike_over_ranks(z1, negatives, weighting)

        rows = len(own)
        weights = None
        if weighting.negatives:
            weights = DenominatorWeights(_own_first(gather(torch.cat(points)), rows), rows, weighting)
        columns = _own_first(gather_with_gradient(torch.cat([own, further])), rows)
        denominator = mean_log_denominator(columns, rows, temperature, weights)
        positives = (own[: len(z1)] * own[len(z1) :]).sum(1)
        if weighting.positives:
            positives = positives * weights_in_whole_batch(points[0], points[1], weighting)
        return denominator - positives.mean() / temperature


def _own_first(gathered: Tensor, rows: int) -> Tensor:
    """Columns as the denominators want them: this process's rows, those of the others, then all negatives."""
    everyone = gathered.view(ranks(), -1, *gathered.shape[1:])
    hands, further = everyone[:, :rows], everyone[:, rows:]
    return torch.cat([hands.roll(-own_rank(), 0).flatten(0, 1), further.flatten(0, 1)])

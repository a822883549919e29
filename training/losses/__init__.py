"""Contrastive losses: pure functions of projections and keypoints, which know nothing of the index.

`training.pretrain.module` calls them. The losses of fine-tuning are in the heads of `training.models`.

loss = nt_xent(z1, z2)                                                               # SimCLR, PeCLR
loss = nt_xent(z1, z2, weighting=Weighting("both"), keypoints1=..., keypoints2=...)  # SiMHand
loss = nt_xent(z1, z2, near=NearMask(NearNegatives(within=2.0), hands, len(z1)))     # near negatives left out
"""

from training.losses.distributed import gather_with_gradient
from training.losses.near_negatives import Hands, NearMask, NearNegatives
from training.losses.nt_xent import nt_xent
from training.losses.queue import ProjectionQueue
from training.losses.simhand_weights import Weighting, positive_weights, weigh_distances

__all__ = [
    "Hands",
    "NearMask",
    "NearNegatives",
    "ProjectionQueue",
    "Weighting",
    "gather_with_gradient",
    "nt_xent",
    "positive_weights",
    "weigh_distances",
]

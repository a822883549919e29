"""Contrastive losses: pure functions of projections and keypoints, which know nothing of the index.

`training.pretrain.module` calls them. The losses of fine-tuning are in the heads of `training.models`.

loss = nt_xent(z1, z2)                                                               # SimCLR, PeCLR
loss = nt_xent(z1, z2, weighting=Weighting("both"), keypoints1=..., keypoints2=...)  # SiMHand
"""

from training.losses.distributed import gather_with_gradient
from training.losses.nt_xent import nt_xent
from training.losses.simhand_weights import Weighting, positive_weights, weigh_distances

__all__ = ["Weighting", "gather_with_gradient", "nt_xent", "positive_weights", "weigh_distances"]

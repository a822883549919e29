"""DexYCB (Chao et al., CVPR 2021): grasping hands seen by eight cameras, in the layout as downloaded."""

from training.datasets.dexycb.dataset import DexYCB
from training.datasets.dexycb.splits import SPLITS

__all__ = ["SPLITS", "DexYCB"]

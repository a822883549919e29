"""AssemblyHands (Ohkawa et al., CVPR 2023), its egocentric pictures, in the layout as downloaded."""

from training.datasets.assemblyhands.dataset import AssemblyHands
from training.datasets.assemblyhands.files import SPLITS

__all__ = ["SPLITS", "AssemblyHands"]

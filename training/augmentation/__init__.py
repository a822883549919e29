"""Views of hands: PeCLR's geometric and colour augmentation of a whole batch on its device.

PeCLR: Spurr et al., ICCV 2021, arXiv 2106.05953, section 4.1; SiMHand (Lin et al., ICLR 2025, arXiv
2502.15251) uses the same.
"""

from training.augmentation.framing import Framing, measure_framing
from training.augmentation.settings import AugmentationSettings
from training.augmentation.views import AugmentedViews, augment

__all__ = ["AugmentationSettings", "AugmentedViews", "Framing", "augment", "measure_framing"]

"""Find hands posed alike in millions of images: the domain of handsim."""

from handsim.embedding import PoseEmbedding
from handsim.errors import HandsimError
from handsim.hand import Hand
from handsim.notebook import show
from handsim.pool import Pool, PoolWriter

__all__ = ["Hand", "HandsimError", "Pool", "PoolWriter", "PoseEmbedding", "show"]

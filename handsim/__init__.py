"""Find hands posed alike in millions of images: the domain of handsim.

The names below load when they are first used, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handsim.embedding import PoseEmbedding
    from handsim.errors import HandsimError
    from handsim.hand import Hand
    from handsim.pool import Pool, PoolWriter

__all__ = ["Hand", "HandsimError", "Pool", "PoolWriter", "PoseEmbedding"]

_HOMES = {
    "Hand": "handsim.hand",
    "HandsimError": "handsim.errors",
    "Pool": "handsim.pool",
    "PoolWriter": "handsim.pool",
    "PoseEmbedding": "handsim.embedding",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'handsim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

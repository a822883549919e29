"""The index of poses: versions that are built, published, searched and mined.

    from index import open_catalog

    with open_catalog("handsim-home/index").current() as version:
        neighbors = version.search_keypoints(keypoints, k=10)

Right imports left: `handsim` knows nothing of this package.
"""

from index.catalog import Catalog, open_catalog
from index.evaluation import Verification, verify
from index.exact import ExactIndex
from index.info import IndexSettings, VersionInfo
from index.live import LiveIndex
from index.mining import MinedPairs, MiningPolicy, mine
from index.query import NO_HAND, Filter, Neighbor, Neighbors, SearchOptions
from index.version import IndexVersion

__all__ = [
    "NO_HAND",
    "Catalog",
    "ExactIndex",
    "Filter",
    "IndexSettings",
    "IndexVersion",
    "LiveIndex",
    "MinedPairs",
    "MiningPolicy",
    "Neighbor",
    "Neighbors",
    "SearchOptions",
    "Verification",
    "VersionInfo",
    "mine",
    "open_catalog",
    "verify",
]

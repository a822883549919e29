"""The index of poses: versions that are built, published, searched and mined.

    from index import open_catalog

    with open_catalog("handsim-home/index").current() as version:
        neighbours = version.search_keypoints(keypoints, k=10)

Right imports left: `handsim` knows nothing of this package.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handsim.errors import HandsimError

if TYPE_CHECKING:
    from index.catalog import Catalog
    from index.exact import ExactIndex
    from index.filter import Filter
    from index.mining import MinedPairs, MiningPolicy, mine
    from index.neighbors import NO_HAND, Neighbor, Neighbors
    from index.settings import IndexSettings
    from index.version import IndexVersion, VersionInfo

__all__ = [
    "NO_HAND",
    "Catalog",
    "ExactIndex",
    "Filter",
    "IndexSettings",
    "IndexVersion",
    "MinedPairs",
    "MiningPolicy",
    "Neighbor",
    "Neighbors",
    "VersionInfo",
    "mine",
    "open_catalog",
]

_HOMES = {
    "NO_HAND": "index.neighbors",
    "Catalog": "index.catalog",
    "ExactIndex": "index.exact",
    "Filter": "index.filter",
    "IndexSettings": "index.settings",
    "IndexVersion": "index.version",
    "MinedPairs": "index.mining",
    "MiningPolicy": "index.mining",
    "Neighbor": "index.neighbors",
    "Neighbors": "index.neighbors",
    "VersionInfo": "index.version",
    "mine": "index.mining",
}


def open_catalog(address: str | Path) -> "Catalog":
    """The index at an address: the path of a directory, which need not exist yet.

    Raises HandsimError for a directory that another program uses.
    """
    if str(address).startswith(("http://", "https://")):
        raise HandsimError(
            f"{address} is a server, but this handsim has embedded indexes only; give a directory"
        )
    from index.edge_catalog import EdgeCatalog

    return EdgeCatalog(Path(address))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'index' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""The index of poses: versions that are built, published, searched and mined.

    from index import open_catalog

    with open_catalog("handsim-home/index").current() as version:
        neighbours = version.search_keypoints(keypoints, k=10)

Right imports left: `handsim` knows nothing of this package.
"""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.catalog import Catalog
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

_HOMES = {
    "NO_HAND": "index.query",
    "Catalog": "index.catalog",
    "ExactIndex": "index.exact",
    "Filter": "index.query",
    "IndexSettings": "index.info",
    "IndexVersion": "index.version",
    "LiveIndex": "index.live",
    "MinedPairs": "index.mining",
    "MiningPolicy": "index.mining",
    "Neighbor": "index.query",
    "Neighbors": "index.query",
    "SearchOptions": "index.query",
    "Verification": "index.evaluation",
    "VersionInfo": "index.info",
    "mine": "index.mining",
    "verify": "index.evaluation",
}


def open_catalog(
    address: str | Path, *, folders: Iterable[str | Path] = (), patient: bool = True
) -> "Catalog":
    """The index at an address: the path of a directory, which need not exist yet, or a Qdrant server's
    ``http(s)://host[:6333][/NAME][?grpc_port=6334]`` with its API key in HANDSIM_QDRANT_API_KEY.

    ``folders`` may hold the weights of image embeddings, which a server does not keep. Without patience a
    server that does not answer is told at once, for those who would rather ask again. Raises HandsimError
    for a directory or collections that another program uses, UnavailableError for a server that is away.
    """
    if "://" in str(address):
        from index.server.catalog import ServerCatalog

        return ServerCatalog.at(str(address), folders=folders, patient=patient)
    from index.edge.catalog import EdgeCatalog

    return EdgeCatalog(Path(address))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'index' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

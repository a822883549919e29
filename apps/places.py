"""Where a command finds its home and its index."""

import argparse
from pathlib import Path

from handsim.embedding import Embedding, PoseEmbedding, load_embedding
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, open_catalog


def home_of(options: argparse.Namespace) -> Home:
    """The directory that ``--home`` names, or the default one."""
    return Home.find(options.home)


def catalog_of(options: argparse.Namespace) -> Catalog:
    """The index that ``--index`` names, or the home's."""
    home = home_of(options)
    return open_catalog(options.index or home.index, folders=encoder_folders(home))


def encoder_folders(home: Home) -> list[Path]:
    """Where encoders may lie, whose weights a server does not keep: the home, and its runs' feedback."""
    return [home.path, *sorted(home.runs.glob("*/feedback"))]


def embedding_of(home: Home, pool: Pool) -> tuple[Embedding, bool]:
    """The home's embedding and whether it was there; otherwise poses are fitted, and kept."""
    if home.embedding.exists():
        return load_embedding(home.embedding), True
    embedding = PoseEmbedding.fit(pool)
    embedding.save(home.embedding)
    return embedding, False

"""``handsim index build|list``."""

import argparse

from apps.progress import progress_bar
from apps.table import table
from handsim.embedding import PoseEmbedding
from handsim.home import Home
from handsim.pool import Pool
from index import IndexSettings, open_catalog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser("build", help="a new version of the whole pool; readers go on meanwhile")
    defaults = IndexSettings()
    build.add_argument("--m", type=int, default=defaults.m, help="links a hand in the graph (%(default)s)")
    build.add_argument(
        "--ef-construct",
        type=int,
        default=defaults.ef_construct,
        metavar="N",
        help="candidates looked at for each link (%(default)s)",
    )
    build.add_argument(
        "--ef", type=int, default=defaults.ef, metavar="N", help="candidates a query looks at (%(default)s)"
    )
    build.set_defaults(run=_build)
    listing = actions.add_parser("list", help="the versions, oldest first")
    listing.set_defaults(run=_list)


def _build(options: argparse.Namespace) -> int:
    home = Home.find(options.home)
    settings = IndexSettings(m=options.m, ef_construct=options.ef_construct, ef=options.ef)
    pool = Pool.open(home.pool)
    if home.embedding.exists():
        embedding = PoseEmbedding.load(home.embedding)
    else:
        embedding = PoseEmbedding.fit(pool)
        embedding.save(home.embedding)
        print(f"fitted the embedding {home.embedding} on {len(pool):,} hands (`handsim embedding show`)")
    with progress_bar("indexing") as progress:
        info = open_catalog(home.index).build(pool, embedding, settings, progress=progress)
    print(f"{info.name}: {info.points:,} hands in {info.build_seconds:.1f} s, now the current version")
    return 0


def _list(options: argparse.Namespace) -> int:
    versions = open_catalog(Home.find(options.home).index).versions()
    if not versions:
        print("no versions yet; `handsim index build` makes one")
        return 0
    header = ["", "version", ">hands", "embedding", "built (UTC)", ">took", ">size"]
    rows = [
        [
            "current" if info.is_current else "",
            info.name,
            f"{info.points:,}",
            f"{info.embedding_kind}-{info.dimension} {info.embedding_fingerprint}",
            info.built_at[:19].replace("T", " "),
            f"{info.build_seconds:.1f} s",
            f"{info.bytes_on_disk / 1e6:,.1f} MB",
        ]
        for info in versions
    ]
    print(table(header, rows))
    return 0

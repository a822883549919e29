"""``handsim pool ...``: looking after a pool."""

import argparse
from pathlib import Path

from apps.cli import pool_duplicates
from apps.cli.console import find_home
from handsim.home import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim pool``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    line = "a home with some of this home's hands: whole videos, smaller subsets within larger ones"
    subset = actions.add_parser("subset", help=line)
    subset.add_argument("hands", type=int, metavar="HANDS", help="how many")
    line = "the new home; crops are linked, not copied"
    subset.add_argument("--to", type=Path, required=True, metavar="HOME", help=line)
    subset.set_defaults(run=_subset)
    line = "hands, recordings and crops that are there twice, or in another pool or dataset, too"
    pool_duplicates.add_arguments(actions.add_parser("duplicates", help=line))


def _subset(options: argparse.Namespace) -> int:
    from handsim.pool.subset import write_subset

    target = Home(options.to)
    write_subset(find_home(options).pool, target.pool, options.hands)
    print(f"{options.hands:,} hands in {target.pool}; next: handsim index build --home {target.path}")
    return 0

"""``handsim pool subset``: a smaller pool, for what less data is worth."""

import argparse
from pathlib import Path

from apps.places import home_of
from handsim.home import Home
from handsim.pool.subset import write_subset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    subset = actions.add_parser(
        "subset",
        help="a home with some of this home's hands: whole videos, smaller subsets within larger ones",
    )
    subset.add_argument("hands", type=int, metavar="HANDS", help="how many")
    subset.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="HOME",
        help="the home it goes in; crops are linked, not copied",
    )
    subset.set_defaults(run=_subset)


def _subset(options: argparse.Namespace) -> int:
    to = Home(options.to)
    write_subset(home_of(options).pool, to.pool, options.hands)
    print(f"{options.hands:,} hands in {to.pool}; next: handsim index build --home {to.path}")
    return 0

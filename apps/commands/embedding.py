"""``handsim embedding fit|show``."""

import argparse

import numpy as np

from apps.table import table
from handsim.embedding import NORMALISATIONS, PoseEmbedding
from handsim.embedding.pose import DEFAULT_COMPONENTS, DEFAULT_NORMALISATION
from handsim.home import Home
from handsim.pool import Pool

_BAR_WIDTH = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fit = actions.add_parser("fit", help="fit it over the pool; the next `index build` uses it")
    fit.add_argument(
        "--components", type=int, default=DEFAULT_COMPONENTS, metavar="D", help="numbers a hand (%(default)s)"
    )
    fit.add_argument(
        "--normalisation",
        choices=NORMALISATIONS,
        default=DEFAULT_NORMALISATION,
        help="what is taken out of the keypoints first (%(default)s)",
    )
    fit.set_defaults(run=_fit)
    show = actions.add_parser("show", help="explained variance and fingerprint")
    show.set_defaults(run=_show)


def _fit(options: argparse.Namespace) -> int:
    home = Home.find(options.home)
    embedding = PoseEmbedding.fit(Pool.open(home.pool), options.components, options.normalisation)
    embedding.save(home.embedding)
    print(describe(embedding))
    print(f"\nwritten to {home.embedding}; `handsim index build` makes an index of it")
    return 0


def _show(options: argparse.Namespace) -> int:
    print(describe(PoseEmbedding.load(Home.find(options.home).embedding)))
    return 0


def describe(embedding: PoseEmbedding) -> str:
    """A table of the components for the terminal."""
    shares = embedding.explained_variance_ratio_
    rows = [
        [str(number), f"{share:.1%}", f"{together:.1%}", "█" * round(together * _BAR_WIDTH)]
        for number, (share, together) in enumerate(zip(shares, np.cumsum(shares), strict=True), start=1)
    ]
    return (
        f"{embedding.dimension} components of 42 2D coordinates, normalisation {embedding.normalisation},\n"
        f"fitted on {embedding.fitted_hands:,} hands, fingerprint {embedding.fingerprint}\n\n"
        + table([">component", ">explained", ">together", ""], rows)
    )

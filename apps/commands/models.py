"""``handsim models fetch``."""

import argparse
from pathlib import Path

from handsim.keypoints.model_file import fetch_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="get MediaPipe's hand model once into the cache")
    fetch.add_argument("--to", type=Path, metavar="FILE", help="where to put it (default: the cache)")
    fetch.set_defaults(run=_fetch)


def _fetch(options: argparse.Namespace) -> int:
    fetched = fetch_model(options.to, print)
    print(f"{fetched.path}: {fetched.source}")
    return 0

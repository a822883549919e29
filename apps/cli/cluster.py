"""The options of the commands that a Ray cluster can work for."""

import argparse

from handsim.cluster import ClusterOptions


def add_cluster_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declare ``--ray``."""
    parser.add_argument(
        "--ray",
        metavar="auto|HOST:PORT",
        help="work on all machines of the Ray cluster with its head there (needs handsim[cluster]); "
        "auto: RAY_ADDRESS, else this machine's own cluster, else one is started for this run",
    )


def read_cluster_options(options: argparse.Namespace, gpus: float = 0.0) -> ClusterOptions | None:
    """What it says; None without it. ``gpus`` is the share of a GPU that a worker takes."""
    return None if options.ray is None else ClusterOptions(options.ray, gpus)

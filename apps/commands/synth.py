"""``handsim synth``: synthetic hands into the pool."""

import argparse

from apps.progress import progress_bar
from handsim.home import Home
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    world = SyntheticConfig()
    parser.add_argument("--videos", type=int, default=world.videos, metavar="N", help="videos (%(default)s)")
    parser.add_argument(
        "--hands-per-video",
        type=int,
        default=world.hands_per_video,
        metavar="N",
        help="frames in each, one hand a frame (%(default)s)",
    )
    parser.add_argument(
        "--size", type=int, default=world.size_px, metavar="PX", help="side of a crop (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=world.seed, help="the same seed gives the same hands (%(default)s)"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    home = Home.find(options.home)
    config = SyntheticConfig(
        videos=options.videos,
        hands_per_video=options.hands_per_video,
        seed=options.seed,
        size_px=options.size,
    )
    with progress_bar("synthesising") as progress:
        synthesise_pool(home.pool, config, progress=progress)
    print(f"{len(Pool.open(home.pool)):,} hands in {home.pool}; next: handsim index build")
    return 0

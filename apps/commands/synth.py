"""``handsim synth``: synthetic hands into the pool, or as a labelled dataset in somebody's layout."""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Final

from apps.progress import progress_bar
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool

LAYOUTS: Final = ("synthetic", "freihand", "dexycb", "assemblyhands")
"""Each has a module in `training.datasets.layouts` with a function ``write_NAME``."""


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
        "--size",
        type=int,
        metavar="PX",
        help=f"side of a crop ({world.size_px}); layouts other than synthetic have their own pictures",
    )
    parser.add_argument(
        "--seed", type=int, default=world.seed, help="the same seed gives the same hands (%(default)s)"
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="write a labelled dataset in this layout, not into the pool"
    )
    parser.add_argument("--out", type=Path, metavar="ROOT", help="the dataset's folder; with --layout")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.size is not None and options.layout not in (None, "synthetic"):
        raise HandsimError(f"--size {options.size} is not for --layout {options.layout}; leave it out")
    config = SyntheticConfig(
        videos=options.videos,
        hands_per_video=options.hands_per_video,
        seed=options.seed,
        size_px=SyntheticConfig.size_px if options.size is None else options.size,
    )
    if (options.layout is None) != (options.out is None):
        raise HandsimError("--layout and --out go together: which layout, and the folder to write it in")
    if options.layout is not None:
        return _write_layout(options.layout, options.out, config)
    home = Home.find(options.home)
    with progress_bar("synthesising") as progress:
        synthesise_pool(home.pool, config, progress=progress)
    print(f"{len(Pool.open(home.pool)):,} hands in {home.pool}; next: handsim index build")
    return 0


def _write_layout(layout: str, root: Path, config: SyntheticConfig) -> int:
    write = getattr(import_module(f"training.datasets.layouts.{layout}"), f"write_{layout}")
    with progress_bar("synthesising") as progress:
        write(root, config, progress)
    print(f"a synthetic set in the layout of {layout} in {root}; next: handsim dataset check {layout} {root}")
    return 0

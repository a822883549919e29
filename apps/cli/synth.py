"""``handsim synth``: synthetic hands into the pool, or as a labelled dataset in somebody's layout."""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Final

from apps.cli.console import progress_bar
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from training.datasets.open_dataset import WORLDS

LAYOUTS: Final = ("synthetic", "freihand", "dexycb", "assemblyhands")
"""Each has a module in `training.datasets.layouts` with a function ``write_NAME``."""
_EPILOG: Final = """\
Any setting of a world can be given here, as in --scene.passing_share 0.5; --settings lists them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    world = SyntheticConfig()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    parser.epilog = _EPILOG
    parser.add_argument(
        "--world",
        metavar="WORLD",
        help="what is filmed: a YAML file, or the name of one that comes with handsim, "
        f"{', '.join(WORLDS.shipped())} (default: a middling one)",
    )
    for name, line in (
        ("--videos", f"videos ({world.videos})"),
        ("--hands-per-video", f"frames in each, one hand a frame ({world.hands_per_video})"),
        ("--size", f"side of a crop ({world.size_px}); layouts other than synthetic have their own pictures"),
        ("--seed", f"the same seed gives the same hands ({world.seed})"),
    ):
        parser.add_argument(name, type=int, metavar="PX" if name == "--size" else "N", help=line)
    parser.add_argument(
        "--keypoint-noise",
        type=float,
        metavar="SHARE",
        help="how far off the pool's keypoints are, as a detector's: a standard deviation in sizes of the "
        "hand's box, as 0.03, three times that where a joint is hidden (0: they are exact)",
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="write a labelled dataset in this layout, not into the pool"
    )
    parser.add_argument("--out", type=Path, metavar="ROOT", help="the dataset's folder; with --layout")
    parser.add_argument("--settings", action="store_true", help="list every setting of a world, and end")
    parser.set_defaults(run=_run, overrides=[])


def _run(options: argparse.Namespace) -> int:
    if options.settings:
        WORLDS.print_settings()
        return 0
    if options.size is not None and options.layout not in (None, "synthetic"):
        raise HandsimError(f"--size {options.size} is not for --layout {options.layout}; leave it out")
    if (options.layout is None) != (options.out is None):
        raise HandsimError("--layout and --out go together: which layout, and the folder to write it in")
    if options.layout is not None and options.keypoint_noise is not None:
        raise HandsimError("--keypoint-noise is for the pool, labels are exact; leave it or --layout out")
    config = _world(options)
    if options.layout is not None:
        return _write_layout(options.layout, options.out, config)
    home = Home.find(options.home)
    with progress_bar("synthesising") as progress:
        synthesise_pool(home.pool, config, keypoint_noise=options.keypoint_noise or 0.0, progress=progress)
    print(f"{len(Pool.open(home.pool)):,} hands in {home.pool}; next: handsim index build")
    return 0


def _world(options: argparse.Namespace) -> SyntheticConfig:
    """What the file says, then the command line."""
    given = {
        "videos": options.videos,
        "hands_per_video": options.hands_per_video,
        "size_px": options.size,
        "seed": options.seed,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    overrides = [*options.overrides, *words]
    if options.world is None:
        return WORLDS.fill({}, overrides, "the command line")
    return WORLDS.read(options.world, overrides)


def _write_layout(layout: str, root: Path, config: SyntheticConfig) -> int:
    write = getattr(import_module(f"training.datasets.layouts.{layout}"), f"write_{layout}")
    with progress_bar("synthesising") as progress:
        write(root, config, progress)
    print(f"a synthetic set in the layout of {layout} in {root}; next: handsim dataset check {layout} {root}")
    return 0

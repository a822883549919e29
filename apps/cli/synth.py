"""``handsim synth``: synthetic hands into the pool, or as a labelled dataset in a published layout."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apps.cli.console import check_folder_name, find_home, format_command, progress_bar
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.geometry import POOL_ENLARGEMENT
from handsim.pool import Pool

if TYPE_CHECKING:
    from handsim.synthetic.config import SyntheticConfig

LAYOUTS: Final = ("synthetic", "generic", "freihand", "dexycb", "assemblyhands")
_EPILOG: Final = """\
Any setting of a world can be given here, as in --scene.passing_share 0.5; --settings lists them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    from handsim.synthetic.config import SyntheticConfig

    world = SyntheticConfig()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    parser.epilog = _EPILOG
    line = "what is filmed: a YAML file, or in_the_wild or studio (default: a middling one)"
    parser.add_argument("--world", metavar="WORLD", help=line)
    for name, line in (
        ("--videos", f"videos ({world.videos})"),
        ("--hands-per-video", f"frames in each, one hand a frame ({world.hands_per_video})"),
        (
            "--size",
            f"side of a crop ({world.size_px}); those of freihand, dexycb and assemblyhands have their own",
        ),
        ("--seed", f"the same seed gives the same hands ({world.seed})"),
    ):
        parser.add_argument(name, type=int, metavar="PX" if name == "--size" else "N", help=line)
    parser.add_argument(
        "--keypoint-noise",
        type=float,
        metavar="SHARE",
        help="standard deviation of the pool's keypoints in sizes of the hand's box, as 0.03; three times "
        "that for a hidden joint (0: they are exact)",
    )
    parser.add_argument(
        "--crop-enlargement",
        type=float,
        metavar="FACTOR",
        help=f"how many times as long as the hand's box pictures of a new pool are ({POOL_ENLARGEMENT:g})",
    )
    line = "write a labelled dataset in this layout, not into the pool"
    parser.add_argument("--layout", choices=LAYOUTS, help=line)
    parser.add_argument("--out", type=Path, metavar="ROOT", help="the dataset's folder; with --layout")
    parser.add_argument("--settings", action="store_true", help="list every setting of a world, and end")
    parser.set_defaults(run=_run, overrides=[])


def _run(options: argparse.Namespace) -> int:
    from handsim.synthetic import synthesise_pool
    from training.datasets.synthetic import WORLDS

    if options.settings:
        WORLDS.print_settings()
        return 0
    if options.size is not None and options.layout not in (None, "synthetic", "generic"):
        raise HandsimError(f"--size {options.size} is not for --layout {options.layout}; leave it out")
    if (options.layout is None) != (options.out is None):
        raise HandsimError("--layout and --out go together: which layout, and the folder to write it in")
    if options.out is not None:
        check_folder_name("--out", options.out)
    if options.layout is not None and options.keypoint_noise is not None:
        raise HandsimError("--keypoint-noise is for the pool, labels are exact; leave it or --layout out")
    if options.layout is not None and options.crop_enlargement is not None:
        raise HandsimError("--crop-enlargement is for the pool; leave it or --layout out")
    config = _read_world(options)
    if options.layout is not None:
        _write_layout(options.layout, options.out, config)
        check = format_command(options, f"dataset check {options.layout} {shlex.quote(str(options.out))}")
        print(f"a synthetic set in the layout of {options.layout} in {options.out}; next: {check}")
        return 0
    home, enlargement = find_home(options), options.crop_enlargement
    with progress_bar("synthesising") as progress:
        synthesise_pool(
            home.pool,
            config,
            keypoint_noise=options.keypoint_noise or 0.0,
            crop_enlargement=POOL_ENLARGEMENT if enlargement is None else enlargement,
            progress=progress,
        )
    hands = pluralize(len(Pool.open(home.pool)), "hand")
    print(f"{hands} in {home.pool}; next: {format_command(options, 'index build')}")
    return 0


def _read_world(options: argparse.Namespace) -> "SyntheticConfig":
    """The world's file, changed by the command line."""
    from training.datasets.synthetic import WORLDS

    settings = ("videos", "hands_per_video", "size_px", "seed")
    values = (options.videos, options.hands_per_video, options.size, options.seed)
    given = [f"--{name}={value}" for name, value in zip(settings, values, strict=True) if value is not None]
    overrides = [*options.overrides, *given]
    if options.world is None:
        return WORLDS.fill({}, overrides, "the command line")
    return WORLDS.read(options.world, overrides)


def _write_layout(layout: str, root: Path, config: "SyntheticConfig") -> None:
    from training.datasets.generic import write_generic
    from training.datasets.layouts import write_assemblyhands, write_dexycb, write_freihand
    from training.datasets.synthetic import write_synthetic

    writers = {
        "synthetic": write_synthetic,
        "generic": write_generic,
        "freihand": write_freihand,
        "dexycb": write_dexycb,
        "assemblyhands": write_assemblyhands,
    }
    with progress_bar("synthesising") as progress:
        writers[layout](root, config, progress)

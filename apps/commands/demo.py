"""``handsim demo``: the whole of it on synthetic hands."""

import argparse
import sys
from typing import Final

from apps.browser.settings import BrowserSettings
from apps.commands.browse import HOST, PORT, browse
from apps.demo import browse_command, demo_world, next_steps, run_demo
from handsim.home import Home
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig

DEMO_HOME: Final = "handsim-demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    world = SyntheticConfig()
    parser.epilog = f"Works in ./{DEMO_HOME} unless --home says otherwise; run again, it reuses the hands."
    parser.add_argument("--videos", type=int, default=world.videos, metavar="N", help="videos (%(default)s)")
    parser.add_argument(
        "--hands-per-video",
        type=int,
        default=world.hands_per_video,
        metavar="N",
        help="hands in each (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=world.seed, help="which hands (%(default)s)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    home = Home.find(options.home or DEMO_HOME)
    config = demo_world(options.videos, options.hands_per_video, options.seed)
    report = run_demo(home, config)
    print(f"\nOpen {report.resolve()} in a browser. Then try:\n\n{next_steps(home, Pool.open(home.pool))}")
    print(f"\nTo look around and search in it: {browse_command(home)}")
    if sys.stdin.isatty() and input("Shall it open now? [y/N] ").strip().lower() in ("y", "yes"):
        browse(BrowserSettings(home.path.resolve()), HOST, PORT)
    return 0

"""The console script ``handsim``.

Only the module of the command that was asked for is imported, so ``handsim --help`` starts at once
and ``handsim query`` never loads torch.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Final

COMMANDS: Final = {
    "ingest": "take hands out of pictures, videos and Hand100M annotations into the pool",
    "synth": "fill the pool with synthetic hands",
    "pool": "a smaller pool out of the home's",
    "models": "get the model that finds hands",
    "embedding": "fit and inspect the pose embedding",
    "index": "build, publish, verify and move index versions",
    "query": "find the hands most like a hand, a picture or keypoints",
    "mine": "find the positives of every hand",
    "evaluate": "measure how good the index is, or estimated hand poses",
    "export": "write a trained encoder's weights for torchvision",
    "pretrain": "train an encoder on pairs from the live index (SimCLR, PeCLR, SiMHand)",
    "finetune": "train an encoder and a head for 3D hand pose on a labelled dataset",
    "dataset": "check a labelled dataset: files, counts, joints, cameras",
    "predict": "estimate the 3D pose of every hand in pictures and videos",
    "experiment": "many runs from one file, and the papers' tables of them",
    "browse": "look at the pool, the index and the runs in a web browser",
    "demo": "the whole of it on synthetic hands, ending in a report",
}
"""Every command and its line of help; its code is in `apps.cli`."""

_BUILDERS: Final = {
    "pool": ("admin", "add_pool_arguments"),
    "models": ("admin", "add_models_arguments"),
    "export": ("admin", "add_export_arguments"),
    "pretrain": ("train", "add_pretrain_arguments"),
    "finetune": ("train", "add_finetune_arguments"),
}
"""Commands that share a module: the module, and the function that adds the command's arguments."""

EXIT_BAD_INPUT: Final = 2
EXIT_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, 2 for bad input, 130 when interrupted)."""
    home = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    home.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the directory to work in (default: $HANDSIM_HOME, else ./handsim-home)",
    )
    home.add_argument(
        "--index",
        metavar="PATH|URL",
        default=argparse.SUPPRESS,
        help="the index, a directory or a Qdrant server (default: what handsim.toml says, else index/)",
    )
    # Taken out first, so that they may stand anywhere: before the command, after it, at the very end.
    options, arguments = home.parse_known_args(argv, argparse.Namespace(home=None, index=None))
    parser = _parser(arguments, home)
    _, rest = parser.parse_known_args(arguments, options)
    if "overrides" in options:  # a command whose settings are more than argparse was told of
        options.overrides = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if "run" not in options:
        parser.print_help()
        return EXIT_BAD_INPUT
    from handsim.errors import HandsimError  # only now: help needs nothing of handsim, which loads numpy

    try:
        return int(options.run(options))
    except HandsimError as error:
        print(f"handsim: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("handsim: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # `handsim ... | head` ends quietly
        return 0


def _parser(arguments: list[str], home: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the options of the one command that ``arguments`` name."""
    parser = argparse.ArgumentParser(
        prog="handsim",
        description="Find hands posed alike in millions of images, and learn from them.",
        parents=[home],
    )
    parser.add_argument("--version", action="version", version=f"handsim {version('handsim')}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    wanted = next((word for word in arguments if word in COMMANDS), None)
    for name, line in COMMANDS.items():
        command = commands.add_parser(
            name, help=line, description=f"{line[0].upper()}{line[1:]}.", parents=[home]
        )
        if name == wanted:
            module, function = _BUILDERS.get(name, (name, "add_arguments"))
            getattr(import_module(f"apps.cli.{module}"), function)(command)
    return parser

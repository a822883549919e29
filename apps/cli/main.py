"""The console script ``handsim``.

Only the module of the command in question is imported, and it imports heavy libraries when it runs: so
``handsim --help`` starts at once, and ``handsim query`` never loads torch.
"""

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from typing import Final

from apps.extras import explain_missing_library

COMMANDS: Final = {
    "ingest": (
        "ingest:add_arguments",
        "take hands out of images, videos and annotations into the pool",
    ),
    "synth": ("synth:add_arguments", "fill the pool with synthetic hands (needs handsim[train])"),
    "pool": ("pool:add_arguments", "look after the pool: its contents, removals, names, merging, export"),
    "list": ("lists:add_arguments", "named lists of hands, which the other commands read"),
    "models": ("admin:add_models_arguments", "get the model that finds hands"),
    "embedding": ("embedding:add_arguments", "fit and inspect the embedding"),
    "index": ("index:add_arguments", "build, publish, verify and move index versions"),
    "query": ("query:add_arguments", "find the hands most like a hand, an image or keypoints"),
    "mine": ("mine:add_arguments", "find the matches (positives) of every hand"),
    "evaluate": ("evaluate:add_arguments", "measure how good the index is, or estimated hand poses"),
    "export": ("admin:add_export_arguments", "write a trained encoder's weights for torchvision"),
    "pretrain": (
        "train:add_pretrain_arguments",
        "train an encoder on pairs from the live index (SimCLR, PeCLR, SiMHand)",
    ),
    "finetune": (
        "train:add_finetune_arguments",
        "train an encoder and a head for 3D hand pose on a labelled dataset",
    ),
    "dataset": ("dataset:add_arguments", "check a labelled dataset, or add its hands to the pool"),
    "predict": ("predict:add_arguments", "estimate the 3D pose of every hand in images and videos"),
    "experiment": ("experiment:add_arguments", "many runs from one file, and the papers' tables of them"),
    "browse": ("browse:add_arguments", "look at the pool, the index and the runs in a web browser"),
    "view": ("views:add_arguments", "saved views of the browser: show, rename, delete"),
    "demo": ("demo:add_arguments", "all of it on synthetic hands, ending in a report"),
}
"""Command -> the module of `apps.cli` and its function that declares the arguments, and the line of help."""

EXIT_BAD_INPUT: Final = 2
EXIT_INTERRUPTED: Final = 130

_WRITABLE: Final = "see that you may write there"
_DISK_REMEDIES: Final = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "use a disk that takes larger files",
    errno.EROFS: _WRITABLE,
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
}
"""What a disk may refuse to any command; every other OSError is a mistake of ours."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    That is 0, 2 for bad input, a missing library or a disk that takes no more, 130 if interrupted.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names hold what a terminal may not know
    try:
        options = _parse(argv)
        return EXIT_BAD_INPUT if options is None else _run(options)
    except ModuleNotFoundError as error:
        explanation = explain_missing_library(error)
        if explanation is None:
            raise
        print(f"handsim: {explanation}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("handsim: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # `handsim ... | head` ends quietly
        return 0


def _run(options: argparse.Namespace) -> int:
    from handsim.errors import HandsimError  # only now: help needs nothing of handsim, which loads numpy

    try:
        with _plain_warnings():
            return int(options.run(options))
    except HandsimError as error:
        print(f"handsim: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        remedy = _DISK_REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"handsim: {place}{os.strerror(error.errno or 0)}; {remedy}, and run it again", file=sys.stderr)
        return EXIT_BAD_INPUT


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings for people like errors, without the line of code that they come from."""
    from handsim.errors import HandsimWarning

    format_as_python_does = warnings.formatwarning

    def format(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, HandsimWarning):
            return f"handsim: {message}\n"
        return format_as_python_does(message, category, filename, lineno, line)

    warnings.formatwarning = format
    try:
        yield
    finally:
        warnings.formatwarning = format_as_python_does


def _parse(argv: Sequence[str] | None) -> argparse.Namespace | None:
    """The options, with the function ``run`` of the command; None after printing help for no command."""
    home = shared_options()
    # These are parsed first, so that they may stand anywhere: before the command, after it, at the very end.
    options, arguments = home.parse_known_args(argv, argparse.Namespace(home=None, index=None, patience=None))
    parser = make_parser(arguments, home)
    _, rest = parser.parse_known_args(arguments, options)
    if "overrides" in options:  # a command that also takes settings, which argparse does not know
        options.overrides = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if "run" not in options:
        parser.print_help()
        return None
    return options


def shared_options() -> argparse.ArgumentParser:
    """The options of every command; as a parent of an action's parser, they stand in its help, too."""
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
    home.add_argument(
        "--patience",
        metavar="SECONDS",
        default=argparse.SUPPRESS,
        help="how long the index's server is waited for (default: what its address says, else 60)",
    )
    return home


def make_parser(arguments: list[str], home: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the options of the one command that ``arguments`` name."""
    parser = argparse.ArgumentParser(
        prog="handsim",
        description="Find hands posed alike in millions of images, and learn from them.",
        parents=[home],
    )
    parser.add_argument("--version", action="version", version=f"handsim {version('handsim')}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    called = next((word for word in arguments if word in COMMANDS), None)
    for name, (place, line) in COMMANDS.items():
        command = commands.add_parser(
            name, help=line, description=f"{line[0].upper()}{line[1:]}.", parents=[home]
        )
        if name == called:
            module, function = place.split(":")
            getattr(import_module(f"apps.cli.{module}"), function)(command)
    return parser

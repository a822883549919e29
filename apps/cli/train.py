"""``handsim pretrain`` and ``handsim finetune``: a training run from a recipe.

Both read a YAML recipe and settings from the command line, write into ``runs/NAME`` of the home, stop with a
checkpoint on Ctrl-C or SIGTERM, and go on with ``--resume``.
"""

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from apps.cli.console import find_catalog, find_checkpoint, find_home, format_command
from apps.cli.main import EXIT_INTERRUPTED
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.home import Home

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from training.pretrain.config import PretrainConfig
    from training.runs.folder import RunFolder
    from training.runs.recipes import Recipes
    from training.runs.trainer import RunOutcome

_Config = TypeVar("_Config", bound="DataclassInstance")

_EPILOG: Final = """\
Any setting of a recipe can be given on the command line, as in {example}; --settings lists them.
--resume goes on with the settings that the run wrote down; those given on the command line still count.
Where there are several GPUs all are used, or as many as --trainer.devices says; over several machines
`torchrun --no-python --nnodes M --nproc-per-node N handsim {command} RECIPE --trainer.nodes M` does it.
"""


def add_pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim pretrain``."""
    parser.usage = (
        "handsim pretrain RECIPE [--include-list NAME] [--exclude-list NAME] [--name NAME] [--resume] "
        "[--SETTING VALUE ...]"
    )
    parser.epilog = _EPILOG.format(command="pretrain", example="--optimizer.lr 1e-3")
    _add_recipe_and_run(parser, "simhand, peclr, cpu_small, ...")
    line = "train on the hands of this list of the home alone (`handsim list`)"
    parser.add_argument("--include-list", metavar="NAME", help=line)
    line = "train without the hands of this list; the browser adds to `left-out`"
    parser.add_argument("--exclude-list", metavar="NAME", help=line)
    parser.set_defaults(run=_pretrain)


def add_finetune_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim finetune``."""
    parser.usage = (
        "handsim finetune RECIPE --data.root FOLDER [--init RUN|FILE] [--label-fraction SHARE] "
        "[--skip-bad FILE] [--name NAME] [--resume] [--SETTING VALUE ...]"
    )
    parser.epilog = _EPILOG.format(command="finetune", example="--data.root FOLDER")
    _add_recipe_and_run(parser, "freihand, dexycb, assemblyhands, ho3d, interhand, generic, synthetic")
    parser.add_argument(
        "--init",
        metavar="RUN|FILE",
        help="the trunk's first weights: a pre-training run's name in the home, a checkpoint's file, or an "
        "architecture's name for ImageNet's weights",
    )
    parser.add_argument(
        "--label-fraction", metavar="SHARE", help="share of the labels to train on, as 0.1 (default: all)"
    )
    line = "leave out the hands that this list names: bad.json of `handsim dataset check`"
    parser.add_argument("--skip-bad", type=Path, metavar="FILE", help=line)
    parser.set_defaults(run=_finetune)


def _add_recipe_and_run(parser: argparse.ArgumentParser, examples: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    parser.add_argument(
        "recipe",
        nargs="?",  # --settings needs none
        metavar="RECIPE",
        help=f"a YAML file, or the name of one that comes with handsim: {examples}; "
        "with --resume the name of a run",
    )
    parser.add_argument("--name", metavar="NAME", help="the run's name (default: the recipe's)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the last run of that name or recipe"
    )
    parser.add_argument("--settings", action="store_true", help="list every setting there is, and end")
    parser.set_defaults(overrides=[])


def _pretrain(options: argparse.Namespace) -> int:
    from training.pretrain.config import RECIPES
    from training.pretrain.train import pretrain

    home = find_home(options)

    def train(config: "PretrainConfig", folder: "RunFolder") -> "RunOutcome":
        searches_index = config.pairs.positives == "neighbours" and config.pairs.table is None
        with find_catalog(options) if searches_index else nullcontext() as catalog:
            return pretrain(config, home, catalog, folder, resume=options.resume)

    lists = {"include_list": options.include_list, "exclude_list": options.exclude_list}
    overrides = [f"--pairs.{setting}={name}" for setting, name in lists.items() if name is not None]
    overrides = [*options.overrides, *overrides]
    return _train(options, home, "pretrain", RECIPES, overrides, train, "export {run} --out FILE")


def _finetune(options: argparse.Namespace) -> int:
    from training.finetune.config import RECIPES
    from training.finetune.train import finetune

    home = find_home(options)
    overrides = [] if options.settings else [*options.overrides, *_expand_short_options(options, home)]
    return _train(
        options,
        home,
        "finetune",
        RECIPES,
        overrides,
        lambda config, folder: finetune(config, folder, resume=options.resume),
        "evaluate pose {run}",
    )


def _train(
    options: argparse.Namespace,
    home: Home,
    command: str,
    recipes: "Recipes[_Config]",
    overrides: Sequence[str],
    train: "Callable[[_Config, RunFolder], RunOutcome]",
    next_command: str,
) -> int:
    """What both commands do around ``train``; ``next_command`` is suggested at the end of a finished run."""
    from training.runs.folder import RunFolder, is_first_process

    if options.settings:
        recipes.print_settings()
        return 0
    if options.recipe is None:
        raise HandsimError(f"which recipe? It comes first: a file, or one of {', '.join(recipes.shipped())}")
    name = options.name or Path(options.recipe).stem
    if options.resume:
        folder = RunFolder.latest(home, name)
        config = recipes.fill(folder.read_config(), overrides, str(folder.config))
    else:
        config = recipes.read(options.recipe, overrides)
        folder = RunFolder.new(home, name)
    try:
        outcome = train(config, folder)
    finally:
        folder.discard_unless_begun()
    if not is_first_process():
        return 0
    run = folder.path.name
    if not outcome.finished:
        resume = format_command(options, f"{command} {run} --resume")
        line = f"stopped after step {outcome.steps:,}; `{resume}` goes on from there"
        if not outcome.steps:
            again = format_command(options, f"{command} {options.recipe}")
            line = f"stopped before the first checkpoint; start again with `{again}`"
        print(line)
        return EXIT_INTERRUPTED
    done = pluralize(outcome.steps, "step")
    print(f"{done} done in {folder.path}; next: {format_command(options, next_command.format(run=run))}")
    return 0


def _expand_short_options(options: argparse.Namespace, home: Home) -> list[str]:
    """The settings behind ``--label-fraction``, ``--skip-bad`` and ``--init``."""
    from handsim.embedding.image import FEATURES

    overrides = []
    if options.label_fraction is not None:
        overrides.append(f"--data.label_fraction={options.label_fraction}")
    if options.skip_bad is not None:
        overrides.append(f"--data.skip_bad={options.skip_bad.resolve()}")
    if options.init is not None:
        init = options.init if options.init in FEATURES else find_checkpoint(options.init, home)[0]
        overrides.append(f"--encoder.init={init}")
    return overrides

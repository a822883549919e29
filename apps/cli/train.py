"""``handsim pretrain``: an encoder from the pool, with pairs from the live index.

``handsim finetune``: an estimator of 3D hand poses from a labelled dataset.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from apps.cli.console import find_catalog, find_checkpoint, find_home
from apps.cli.main import EXIT_INTERRUPTED
from handsim.errors import HandsimError
from handsim.home import Home

_EPILOG: Final = """\
Any setting of a recipe can be given on the command line, as in --optimizer.lr 1e-3; --settings lists them.
--resume goes on with the settings that the run wrote down; those given on the command line still count.
Where there are several GPUs all are used, or as many as --trainer.devices says; over several machines
`torchrun --no-python --nnodes M --nproc-per-node N handsim pretrain RECIPE --trainer.nodes M` does it.
"""


def add_pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    parser.usage = "handsim pretrain RECIPE [--name NAME] [--resume] [--SETTING VALUE ...]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "recipe",
        nargs="?",  # --settings needs none
        metavar="RECIPE",
        help="a YAML file, or the name of one that comes with handsim: simhand, peclr, cpu_small, ...; "
        "with --resume the name of a run",
    )
    parser.add_argument("--name", metavar="NAME", help="the run's name (default: the recipe's)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the last run of that name, or recipe"
    )
    parser.add_argument("--settings", action="store_true", help="list every setting there is, and end")
    parser.set_defaults(run=_run, overrides=[])


def _run(options: argparse.Namespace) -> int:
    # Only here: `handsim --help` and the other commands do without torch.
    from training.pretrain.config import RECIPES
    from training.pretrain.train import pretrain
    from training.runs.folder import RunFolder
    from training.runs.trainer import is_first_process

    if options.settings:
        RECIPES.print_settings()
        return 0
    if options.recipe is None:
        raise HandsimError(f"which recipe? It comes first: a file, or one of {', '.join(RECIPES.shipped())}")
    home = find_home(options)
    name = options.name or Path(options.recipe).stem
    if options.resume:
        folder = RunFolder.latest(home, name)
        config = RECIPES.fill(folder.read_config(), options.overrides, str(folder.config))
    else:
        config = RECIPES.read(options.recipe, options.overrides)
        # The first process of a distributed run makes it; the others never write there.
        folder = RunFolder.new(home, name) if is_first_process() else RunFolder(home.run(name))
    asks_index = config.pairs.positives == "neighbours" and config.pairs.table is None
    try:
        with find_catalog(options) if asks_index else nullcontext() as catalog:
            outcome = pretrain(config, home, catalog, folder, resume=options.resume)
    finally:
        folder.discard_unless_begun()
    if not is_first_process():
        return 0
    if not outcome.finished:
        print(
            f"stopped after step {outcome.steps:,}; "
            f"`handsim pretrain {folder.path.name} --resume` goes on from there"
        )
        return EXIT_INTERRUPTED
    print(f"{outcome.steps:,} steps done in {folder.path}; `handsim export {folder.path.name} --out FILE`")
    return 0


_EPILOG_FINETUNE: Final = """\
Any setting of a recipe can be given on the command line, as in --data.root FOLDER; --settings lists them.
--resume goes on with the settings that the run wrote down; those given on the command line still count.
Where there are several GPUs all are used, or as many as --trainer.devices says; over several machines
`torchrun --no-python --nnodes M --nproc-per-node N handsim finetune RECIPE --trainer.nodes M` does it.
"""


def add_finetune_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    parser.usage = (
        "handsim finetune RECIPE --data.root FOLDER [--init RUN|FILE] [--label-fraction SHARE] "
        "[--name NAME] [--resume] [--SETTING VALUE ...]"
    )
    parser.epilog = _EPILOG_FINETUNE
    parser.add_argument(
        "recipe",
        nargs="?",  # --settings needs none
        metavar="RECIPE",
        help="a YAML file, or the name of one that comes with handsim: freihand, dexycb, assemblyhands, "
        "synthetic; with --resume the name of a run",
    )
    parser.add_argument(
        "--init",
        metavar="RUN|FILE",
        help="what the trunk begins with: a pre-training run's name in the home, a checkpoint's file, or an "
        "architecture's name for ImageNet's weights",
    )
    parser.add_argument(
        "--label-fraction", metavar="SHARE", help="share of the labels to train on, as 0.1 (default: all)"
    )
    parser.add_argument("--name", metavar="NAME", help="the run's name (default: the recipe's)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the last run of that name, or recipe"
    )
    parser.add_argument("--settings", action="store_true", help="list every setting there is, and end")
    parser.set_defaults(run=_finetune, overrides=[])


def _finetune(options: argparse.Namespace) -> int:
    # Only here: `handsim --help` and the other commands do without torch.
    from training.finetune.config import RECIPES
    from training.finetune.train import finetune
    from training.runs.folder import RunFolder
    from training.runs.trainer import is_first_process

    if options.settings:
        RECIPES.print_settings()
        return 0
    if options.recipe is None:
        raise HandsimError(f"which recipe? It comes first: a file, or one of {', '.join(RECIPES.shipped())}")
    home = find_home(options)
    name = options.name or Path(options.recipe).stem
    overrides = [*options.overrides, *_in_full(options, home)]
    if options.resume:
        folder = RunFolder.latest(home, name)
        config = RECIPES.fill(folder.read_config(), overrides, str(folder.config))
    else:
        config = RECIPES.read(options.recipe, overrides)
        # The first process of a distributed run makes it; the others never write there.
        folder = RunFolder.new(home, name) if is_first_process() else RunFolder(home.run(name))
    try:
        outcome = finetune(config, folder, resume=options.resume)
    finally:
        folder.discard_unless_begun()
    if not is_first_process():
        return 0
    if not outcome.finished:
        print(
            f"stopped after step {outcome.steps:,}; "
            f"`handsim finetune {folder.path.name} --resume` goes on from there"
        )
        return EXIT_INTERRUPTED
    print(f"{outcome.steps:,} steps done in {folder.path}; `handsim evaluate pose {folder.path.name}`")
    return 0


def _in_full(options: argparse.Namespace, home: Home) -> list[str]:
    """The settings behind the options that have a short name."""
    from handsim.embedding.image import FEATURES

    words = []
    if options.label_fraction is not None:
        words.append(f"--data.label_fraction={options.label_fraction}")
    if options.init is not None:
        is_imagenet = options.init in FEATURES
        init = options.init if is_imagenet else find_checkpoint(options.init, home)[0]
        words.append(f"--encoder.init={init}")
    return words

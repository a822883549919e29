"""``handsim pretrain``: an encoder from the pool, with pairs from the live index."""

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from apps.cli import EXIT_INTERRUPTED
from apps.places import catalog_of, home_of
from handsim.errors import HandsimError

_EPILOG: Final = """\
Any setting of a recipe can be given on the command line, as in --optimizer.lr 1e-3; --settings lists them.
--resume goes on with the settings that the run wrote down; those given on the command line still count.
Where there are several GPUs all are used, or as many as --trainer.devices says; over several machines
`torchrun --no-python --nnodes M --nproc-per-node N handsim pretrain RECIPE --trainer.nodes M` does it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    from training.pretrain.recipe import RECIPES
    from training.pretrain.run import pretrain
    from training.runs.processes import is_first_process
    from training.runs.run_folder import RunFolder

    if options.settings:
        RECIPES.print_settings()
        return 0
    if options.recipe is None:
        raise HandsimError(f"which recipe? It comes first: a file, or one of {', '.join(RECIPES.shipped())}")
    home = home_of(options)
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
        with catalog_of(options) if asks_index else nullcontext() as catalog:
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

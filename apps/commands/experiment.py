"""``handsim experiment run|table``: many runs from one file, and the tables that come of them."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from apps.cli import EXIT_INTERRUPTED
from apps.places import home_of
from apps.table import table

if TYPE_CHECKING:
    from apps.experiment_place import ExperimentPlace
    from training.experiments.config import Experiment
    from training.experiments.expansion import Run
    from training.experiments.slots import Slot
    from training.experiments.steps import Step

EXIT_FAILED: Final = 1
_EPILOG: Final = """\
Any setting of the file can be given on the command line, as in --data.datasets.freihand.root FOLDER; it is
remembered for this experiment, and need not be given again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run = actions.add_parser("run", help="do what is missing; what was killed or stopped goes on")
    run.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="steps at a time (default: one for each GPU; without GPUs one, with all cores)",
    )
    run.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    run.set_defaults(run=_run)
    shown = actions.add_parser("table", help="tables and figures of what is there")
    shown.set_defaults(run=_table)
    for action in (run, shown):
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.allow_abbrev = False
        action.epilog = _EPILOG
        action.add_argument(
            "file", metavar="FILE", help="a YAML file, or the name of one that comes with handsim: main, ..."
        )
        action.set_defaults(overrides=[])


def _run(options: argparse.Namespace) -> int:
    # Only here: `handsim --help` and the other commands do without torch.
    from training.experiments.places import check_places
    from training.experiments.runner import run_steps
    from training.experiments.slots import make_slots
    from training.experiments.steps import in_order

    place, experiment, runs = _read(options, remember=not options.dry_run)
    check_places(experiment)
    slots = make_slots(options.jobs)
    steps = in_order(run.evaluation for run in runs)
    if options.dry_run:
        print(_plan(steps, place, slots))
        return 0
    place.store.make()
    outcome = run_steps(steps, place.store, slots, _say)
    place.write_report(experiment, runs)
    print(f"tables and figures are in {place.path}; `handsim experiment table {options.file}` shows them")
    for step in outcome.failed:
        print(f"failed: {step.title}; its log is {place.store.folder(step).log}")
    if outcome.held_up:
        print(f"{len(outcome.held_up):,} more steps need what failed, and were not done")
    if outcome.stopped:
        print(f"stopped; `handsim experiment run {options.file}` goes on from there")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if outcome.failed else 0


def _table(options: argparse.Namespace) -> int:
    place, experiment, runs = _read(options, remember=False)
    print(place.write_report(experiment, runs))
    print(f"written to {place.path}, with figures")
    return 0


def _read(options: argparse.Namespace, *, remember: bool) -> "tuple[ExperimentPlace, Experiment, list[Run]]":
    from apps.experiment_place import ExperimentPlace
    from training.experiments.expansion import expand
    from training.experiments.reading import EXPERIMENTS, parse_overrides, read_experiment

    home = home_of(options)
    place = ExperimentPlace.of(home, EXPERIMENTS.find(options.file))
    settings = place.remembered(parse_overrides(options.overrides))
    experiment = read_experiment(options.file, settings, home.path)
    runs = expand(experiment)
    if remember and settings:
        place.remember(settings)
    return place, experiment, runs


def _plan(steps: "Sequence[Step]", place: "ExperimentPlace", slots: "Sequence[Slot]") -> str:
    """What is done and what would be, in the order of beginning."""
    from training.experiments.results import state_of

    store = place.store
    states = {step.key: state_of(step, store) for step in steps}
    rows = [
        [states[step.key], step.name, step.title, ", ".join(before.name for before in step.inputs.values())]
        for step in steps
    ]
    left = sum(state != "done" for state in states.values())
    return (
        table(["", "step", "", "after"], rows)
        + f"\n\n{left:,} of {len(steps):,} steps are to be done, {len(slots)} at a time"
    )


def _say(line: str) -> None:
    print(line, flush=True)

"""``handsim experiment run|table``: many runs from one file, and the tables that come of them.

Where an experiment lies in a home, and the settings that it was given.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from apps.cli.console import find_home, format_table
from apps.cli.figures import save, table_figure
from apps.cli.main import EXIT_INTERRUPTED
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.home import Home
from training.experiments.config import (
    EXPERIMENTS,
    Experiment,
    check_inputs,
    parse_overrides,
    read_experiment,
)
from training.experiments.steps import Step, StepStore, in_order
from training.experiments.tables import collect_results, step_state

if TYPE_CHECKING:
    from training.experiments.plan import Run
    from training.experiments.run import Slot


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
    from training.experiments.run import make_slots, run_steps

    place, experiment, runs = _read(options, remember=not options.dry_run)
    check_inputs(experiment)
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
    if outcome.blocked:
        print(f"{len(outcome.blocked):,} more steps need what failed, and were not done")
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
    from training.experiments.plan import expand

    home = find_home(options)
    place = ExperimentPlace.of(home, EXPERIMENTS.find(options.file))
    settings = place.remembered(parse_overrides(options.overrides))
    experiment = read_experiment(options.file, settings, home.path)
    runs = expand(experiment)
    if remember and settings:
        place.remember(settings)
    return place, experiment, runs


def _plan(steps: Sequence[Step], place: "ExperimentPlace", slots: "Sequence[Slot]") -> str:
    """What is done and what would be, in the order of beginning."""
    store = place.store
    states = {step.key: step_state(step, store) for step in steps}
    rows = [
        [states[step.key], step.name, step.title, ", ".join(before.name for before in step.inputs.values())]
        for step in steps
    ]
    left = sum(state != "done" for state in states.values())
    return (
        format_table(["", "step", "", "after"], rows)
        + f"\n\n{left:,} of {len(steps):,} steps are to be done, {len(slots)} at a time"
    )


def _say(line: str) -> None:
    print(line, flush=True)


@dataclass(frozen=True)
class ExperimentPlace:
    """``experiments/NAME/`` in a home, all that is shown of it; steps are in ``experiments/steps/``."""

    path: Path
    """The directory; need not exist yet."""

    @classmethod
    def of(cls, home: Home, file: Path) -> "ExperimentPlace":
        """That of an experiment's file, by its name."""
        if file.stem == "steps":
            raise HandsimError(f"{file} would be mixed up with the folder of the steps; call it otherwise")
        return cls(home.path / "experiments" / file.stem)

    @property
    def store(self) -> StepStore:
        """The steps, which all experiments of a home share."""
        return StepStore(self.path.parent / "steps")

    @property
    def settings(self) -> Path:
        """What was given on the command line."""
        return self.path / "settings.yaml"

    def remembered(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values by dotted name that were ``given`` now or before; raises HandsimError for a damaged file."""
        if not self.settings.exists():
            return dict(given)
        try:
            before = yaml.safe_load(self.settings.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise HandsimError(
                f"{self.settings} cannot be read; remove it, and give its settings again"
            ) from error
        if not isinstance(before, dict):
            raise HandsimError(f"{self.settings} holds no settings; remove it, and give them again")
        return {**before, **given}

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Keep them for the next time."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.settings, yaml.safe_dump(dict(settings), sort_keys=False))

    def write_report(self, experiment: Experiment, runs: "list[Run]") -> str:
        """Make ``tables.md``, ``results.json`` and figures of what is there; returns the Markdown."""
        results = collect_results(experiment, runs, self.store)
        text = results.to_markdown()
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path / "tables.md", text)
        content = json.dumps(results.to_json(), indent=1, allow_nan=False)
        write_text_atomically(self.path / "results.json", content + "\n")
        for one in results.tables:
            for metric in one.metrics:
                if any(cell.n for row in one.cells for cell in row):
                    save(table_figure(one, metric), self.path / "figures" / f"{one.name}-{metric.name}.png")
        return text

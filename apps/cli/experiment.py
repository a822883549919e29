"""``handsim experiment run|table``: many runs from one file, and the tables that come of them.

An experiment has a folder in the home: ``experiments/NAME/`` with ``tables.md``, ``results.json``, figures
and ``settings.yaml``, the settings that were given on the command line. The steps of all experiments lie
together in ``experiments/steps/``.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from apps.cli.console import add_action, find_home, format_command, format_table
from apps.cli.main import EXIT_INTERRUPTED
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.home import Home

if TYPE_CHECKING:
    from training.experiments.config import Experiment
    from training.experiments.plan import Run
    from training.experiments.steps import Step, StepStore

EXIT_FAILED: Final = 1
_SETTINGS: Final = "settings.yaml"
_EPILOG: Final = """\
Any setting of the file can be given on the command line, as in --data.datasets.freihand.root FOLDER; it is
remembered for this experiment, and need not be given again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run = add_action(actions, "run", "do the steps that are missing; those that were stopped go on")
    line = "steps at a time (default: one for each GPU; without GPUs one, with all cores)"
    run.add_argument("--jobs", type=int, metavar="N", help=line)
    run.add_argument("--dry-run", action="store_true", help="list the steps, and do nothing")
    run.set_defaults(run=_run)
    table = add_action(actions, "table", "tables and figures of the runs that are done")
    table.set_defaults(run=_table)
    for action in (run, table):
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.allow_abbrev = False
        action.epilog = _EPILOG
        line = "a YAML file, or the name of one that comes with handsim: main, ..."
        action.add_argument("file", metavar="FILE", help=line)
        action.set_defaults(overrides=[])


def _run(options: argparse.Namespace) -> int:
    from training.experiments.config import check_inputs
    from training.experiments.run import make_slots, run_steps
    from training.experiments.steps import in_order

    folder, experiment, runs = _read(options, remember=not options.dry_run)
    check_inputs(experiment)
    slots = make_slots(options.jobs)
    steps = in_order(run.evaluation for run in runs)
    if options.dry_run:
        print(_format_plan(steps, folder.store, len(slots)))
        return 0
    folder.store.make()
    outcome = run_steps(steps, folder.store, slots, lambda line: print(line, flush=True))
    folder.write_report(experiment, runs)
    table, again = (
        format_command(options, f"experiment {action} {options.file}") for action in ("table", "run")
    )
    print(f"tables and figures are in {folder.path}; `{table}` shows them")
    for step in outcome.failed:
        print(f"failed: {step.title}; its log is {folder.store.folder(step).log}")
    if outcome.blocked:
        blocked = pluralize(len(outcome.blocked), "more step needs", "more steps need")
        print(f"{blocked} what failed, and {'was' if len(outcome.blocked) == 1 else 'were'} not done")
    if outcome.stopped:
        print(f"stopped; `{again}` goes on from there")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if outcome.failed else 0


def _table(options: argparse.Namespace) -> int:
    folder, experiment, runs = _read(options, remember=False)
    print(folder.write_report(experiment, runs))
    print(f"written to {folder.path}, with figures")
    return 0


def _read(options: argparse.Namespace, *, remember: bool) -> "tuple[ExperimentFolder, Experiment, list[Run]]":
    from training.experiments.config import EXPERIMENTS, parse_overrides, read_experiment
    from training.experiments.plan import expand

    home = find_home(options)
    folder = ExperimentFolder.of(home, EXPERIMENTS.find(options.file))
    settings = {**folder.read_settings(), **parse_overrides(options.overrides)}
    experiment = read_experiment(options.file, settings, home.path)
    runs = expand(experiment)
    if remember and settings:
        folder.write_settings(settings)
    return folder, experiment, runs


def _format_plan(steps: "Sequence[Step]", store: "StepStore", slots: int) -> str:
    """The steps in the order in which they begin, and whether each is done."""
    from training.experiments.results import step_state

    states = [step_state(step, store) for step in steps]
    rows = [
        [state, step.name, step.title, ", ".join(before.name for before in step.inputs.values())]
        for state, step in zip(states, steps, strict=True)
    ]
    left = sum(state != "done" for state in states)
    table = format_table(["", "step", "", "after"], rows)
    return f"{table}\n\n{left:,} of {pluralize(len(steps), 'step')} are to be done, {slots} at a time"


@dataclass(frozen=True)
class ExperimentFolder:
    """The folder of an experiment in a home."""

    path: Path
    """Need not exist yet."""

    @classmethod
    def of(cls, home: Home, file: Path) -> "ExperimentFolder":
        """The folder is named as the experiment's file."""
        if file.stem == "steps":
            raise HandsimError(f"{file} would be mixed up with the folder of the steps; call it otherwise")
        return cls(home.path / "experiments" / file.stem)

    @property
    def store(self) -> "StepStore":
        """The steps of all experiments of the home."""
        from training.experiments.steps import StepStore

        return StepStore(self.path.parent / "steps")

    def read_settings(self) -> dict[str, Any]:
        """The settings of earlier commands by dotted name; raises HandsimError for a damaged file."""
        import yaml

        file = self.path / _SETTINGS
        if not file.exists():
            return {}
        try:
            settings = yaml.safe_load(file.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise HandsimError(f"{file} cannot be read; remove it, and give its settings again") from error
        if not isinstance(settings, dict):
            raise HandsimError(f"{file} holds no settings; remove it, and give them again")
        return settings

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Keep them for the next command."""
        import yaml

        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path / _SETTINGS, yaml.safe_dump(dict(settings), sort_keys=False))

    def write_report(self, experiment: "Experiment", runs: "list[Run]") -> str:
        """Write ``tables.md``, ``results.json`` and figures of what is done; returns the Markdown."""
        from apps.cli.figures import plot_table, save_figure
        from training.experiments.results import collect_results

        results = collect_results(experiment, runs, self.store)
        text = results.to_markdown()
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path / "tables.md", text)
        content = json.dumps(results.to_json(), indent=1, allow_nan=False)
        write_text_atomically(self.path / "results.json", content + "\n")
        for table in results.tables:
            if any(cell.n for row in table.cells for cell in row):
                for metric in table.metrics:
                    name = f"{table.name}-{metric.name}.png"
                    save_figure(plot_table(table, metric), self.path / "figures" / name)
        return text

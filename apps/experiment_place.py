"""Where an experiment lies in a home, and the settings that it was given."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from apps.experiment_words import as_json, as_markdown
from apps.figures.experiment import table_figure
from apps.figures.style import save
from handsim.atomic_file import write_text_atomically
from handsim.errors import HandsimError
from handsim.home import Home
from training.experiments.config import Experiment
from training.experiments.expansion import Run
from training.experiments.results import read_results
from training.experiments.store import StepStore
from training.experiments.tables import make_tables


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

    def write_report(self, experiment: Experiment, runs: list[Run]) -> str:
        """Make ``tables.md``, ``results.json`` and figures of what is there; returns the Markdown."""
        results = read_results(runs, self.store)
        tables = make_tables(experiment, results)
        text = as_markdown(experiment, tables, results)
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path / "tables.md", text)
        told = json.dumps(as_json(experiment, tables, results), indent=1, allow_nan=False)
        write_text_atomically(self.path / "results.json", told + "\n")
        for table in tables:
            for shown in dict.fromkeys(column.metric for column in table.columns):
                if any(cell.n for row in table.cells for cell in row):
                    save(table_figure(table, shown), self.path / "figures" / f"{table.name}-{shown.name}.png")
        return text

"""The directory of a training run, ``runs/<name>/``: the browser reads nothing else.

A run's numbers as JSON lines: what the browser draws its curves from.
"""

import json
import math
import re
import shutil
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from handsim.errors import HandsimError, NotThereError
from handsim.files import write_text_atomically
from handsim.home import Home
from training.runs.checkpoints import LAST
from training.runs.recipes import as_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class RunFolder:
    """Where things lie in it; nothing need exist yet."""

    path: Path
    """The directory."""

    @classmethod
    def new(cls, home: Home, name: str) -> "RunFolder":
        """The run ``name`` or, if there is one, ``name-2``, ...; made, so that nobody else takes it."""
        number = 1
        while True:
            folder = cls(home.run(name if number == 1 else f"{name}-{number}"))
            try:
                folder.path.mkdir(parents=True)
            except FileExistsError:
                number += 1
            except OSError as error:
                raise HandsimError(
                    f"{folder.path} cannot be made ({error.strerror}); name another --home"
                ) from error
            else:
                return folder

    @classmethod
    def latest(cls, home: Home, name: str) -> "RunFolder":
        """The latest of ``name``, ``name-2``, ... with a checkpoint; raises NotThereError without one."""
        first = home.run(name)
        numbered = re.compile(re.escape(name) + r"-[0-9]+")
        runs = [first, *(run for run in home.runs.glob("*") if numbered.fullmatch(run.name))]
        kept = [run for run in runs if (run / "checkpoints" / LAST).exists()]
        if not kept:
            raise NotThereError(
                f"there is no checkpoint of a run {name} in {home.runs} to resume from; leave --resume out"
            )
        return cls(max(kept, key=lambda run: (run / "checkpoints" / LAST).stat().st_mtime_ns))

    @property
    def config(self) -> Path:
        """All settings, as a recipe."""
        return self.path / "config.yaml"

    @property
    def facts(self) -> Path:
        """What it was trained on, as JSON."""
        return self.path / "facts.json"

    @property
    def metrics(self) -> Path:
        """Numbers as JSON lines."""
        return self.path / "metrics.jsonl"

    @property
    def figures(self) -> Path:
        """Pictures of what it was trained on."""
        return self.path / "figures"

    @property
    def checkpoints(self) -> Path:
        """``last.ckpt`` and ``best.ckpt``."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """What `--resume` goes on from."""
        return self.checkpoints / LAST

    @property
    def diverged(self) -> Path:
        """The batch whose loss was no number, where that happened."""
        return self.path / "diverged.json"

    def write_config(self, config: "DataclassInstance") -> None:
        """Write down all settings."""
        write_text_atomically(self.config, as_yaml(config))

    def read_config(self) -> dict[str, Any]:
        """The settings as plain values; raises HandsimError when they cannot be read."""
        try:
            content = yaml.safe_load(self.config.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            why = " ".join(str(error).split())
            raise HandsimError(f"{self.config} cannot be read ({why}); the run cannot be resumed") from error
        if not isinstance(content, dict):
            raise HandsimError(f"{self.config} holds no settings; the run cannot be resumed")
        return content

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Write down what it is trained on."""
        write_text_atomically(self.facts, json.dumps(facts, indent=1) + "\n")

    def discard_unless_begun(self) -> None:
        """Remove it if no training began in it: its settings are written down first."""
        if self.path.exists() and not self.config.exists():
            shutil.rmtree(self.path)

    def add_to_log(self, line: str) -> None:
        """Add a line of what happened to ``log.txt``, with the time (UTC)."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with (self.path / "log.txt").open("a") as file:
            file.write(f"{now} {line}\n")


class MetricsFile(Logger):
    """``metrics.jsonl``: one JSON object a line, each with its ``step``; numbers that are none are null."""

    def __init__(self, path: Path) -> None:
        """Lines are added to what is there."""
        super().__init__()
        self._path = path

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "metrics"

    @property
    def version(self) -> str:
        """There is one file a run."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a line."""
        with self._path.open("a") as file:
            file.write(
                json.dumps({"step": step, **{name: _plain(value) for name, value in metrics.items()}}) + "\n"
            )

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The settings have a file of their own."""

    @rank_zero_only
    def forget_after(self, step: int) -> None:
        """Drop what was written after a step: a run that resumes from there writes it again."""
        if not self._path.exists():
            return
        lines = self._path.read_text().splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        write_text_atomically(self._path, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    """A line that was cut short when its writer was killed comes after every step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""A run's numbers as JSON lines: what the browser draws its curves from."""

import json
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from handsim.atomic_file import write_text_atomically


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

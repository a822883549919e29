"""The directory of a training run, ``runs/<name>/``: the browser reads nothing else.

    config.yaml     all settings, as a recipe
    facts.json      the metadata, what is trained on what: pool, index version, dataset, libraries
    metrics.jsonl   numbers as JSON lines, from which the browser draws its curves
    figures/        pictures of what is trained on
    checkpoints/    last.ckpt, from which --resume continues, and best.ckpt
    diverged.json   the batch whose loss was NaN or infinite, where that happened
    log.txt         what happened, with the time (UTC)

In a distributed run only the first process makes the directory and writes there.
"""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from handsim.errors import HandsimError, NotThereError
from handsim.files import write_text_atomically
from handsim.home import Home
from training.runs.recipes import as_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_BEFORE: Final[dict[tuple[str, ...], Any]] = {
    ("pairs", "policy", "min_distance"): 0.0,
    ("pairs", "policy", "keep_duplicates"): True,
    ("augmentation", "extent"): "box",
    ("estimator", "loss_balance"): "by_size",
}
"""Settings that came later and changed what is trained, and the value by which earlier runs went."""

LAST: Final = "last.ckpt"
BEST: Final = "best.ckpt"
"""Of the epoch with the lowest validation error; in pre-training, with the lowest mean loss."""


def is_first_process() -> bool:
    """Whether this process makes the run's directory and writes there.

    Torchrun, Slurm and Lightning say in the environment which process of which machine they start.
    """
    for name in ("RANK", "SLURM_PROCID"):  # over all machines
        if name in os.environ:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("NODE_RANK", "LOCAL_RANK"))


@dataclass(frozen=True)
class RunFolder:
    """The directory of a run and the paths in it; nothing need exist yet."""

    path: Path

    @classmethod
    def new(cls, home: Home, name: str) -> "RunFolder":
        """Make the directory of run ``name`` or, if there is one, of ``name-2``, ``name-3``, ...

        Only the first process of a distributed run makes it; the others get it from `Checkpoints`, and until
        then name a directory that is not theirs.
        """
        if not is_first_process():
            return cls(home.run(name))
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
        numbered = re.compile(re.escape(name) + r"-[0-9]+")
        paths = [home.run(name), *(path for path in home.runs.glob("*") if numbered.fullmatch(path.name))]
        resumable = [folder for folder in map(cls, paths) if folder.last.exists()]
        if not resumable:
            raise NotThereError(
                f"there is no checkpoint of a run {name} in {home.runs} to resume from; leave --resume out"
            )
        return max(resumable, key=lambda folder: folder.last.stat().st_mtime_ns)

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metadata(self) -> Path:
        return self.path / "facts.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / LAST

    @property
    def diverged(self) -> Path:
        return self.path / "diverged.json"

    def write_config(self, config: "DataclassInstance") -> None:
        write_text_atomically(self.config, as_yaml(config))

    def read_config(self) -> dict[str, Any]:
        """The settings as plain values; raises HandsimError when they cannot be read.

        Those that a run of an earlier version lacks have the values by which it went.
        """
        try:
            content = yaml.safe_load(self.config.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            why = " ".join(str(error).split())
            raise HandsimError(f"{self.config} cannot be read ({why}); the run cannot be resumed") from error
        if not isinstance(content, dict):
            raise HandsimError(f"{self.config} holds no settings; the run cannot be resumed")
        for (*groups, name), before in _BEFORE.items():
            group: Any = content
            for key in groups:
                group = group.get(key) if isinstance(group, dict) else None
            if isinstance(group, dict):
                group.setdefault(name, before)
        return content

    def write_metadata(self, metadata: dict[str, Any]) -> None:
        write_text_atomically(self.metadata, json.dumps(metadata, indent=1) + "\n")

    def discard_unless_begun(self) -> None:
        """Remove the directory if no training began in it; a run writes its settings first."""
        if is_first_process() and self.path.exists() and not self.config.exists():
            shutil.rmtree(self.path)

    def add_to_log(self, line: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with (self.path / "log.txt").open("a") as file:
            file.write(f"{now} {line}\n")

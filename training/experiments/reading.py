"""Experiments from their files, with settings from the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from handsim.errors import HandsimError
from training.experiments.config import Experiment
from training.runs.recipes import Recipes

EXPERIMENTS: Final = Recipes(
    Experiment, Path(__file__).resolve().parents[2] / "experiments", "handsim experiment", "experiment"
)
"""Those that come with handsim, and how any is read."""
SHARED: Final = ("data", "base", "start")
"""Groups that one file may take of another one: what is trained on and how, not what is compared."""


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Values by dotted name of ``["--data.datasets.freihand.root", "FOLDER"]``; also ``--NAME=VALUE``.

    Values are YAML. Raises HandsimError for words that are no such pairs.
    """
    found: dict[str, Any] = {}
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if not name.startswith("--"):
            raise HandsimError(f"{name} is no setting; settings are given as --its.name VALUE")
        if not equals:
            if not left:
                raise HandsimError(f"{name} has no value; give it as {name} VALUE")
            value = left.pop(0)
        try:
            found[name[2:]] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise HandsimError(f"{name} is {value!r}, which is no YAML; quote it") from error
    return found


def read_experiment(file: str | Path, overrides: Mapping[str, Any], home: Path | None = None) -> Experiment:
    """The experiment of a file, or of a shipped one's name; ``overrides`` are values by dotted name.

    A file may say ``like: FILE``: those of `SHARED` that it leaves out are that one's. ``home`` is the
    ``data.home`` where nobody names one. Raises NotThereError for a file that is not there, HandsimError for
    a key that does not exist (naming the nearest one that does), a value that cannot be, and parts that do
    not go together.
    """
    path = EXPERIMENTS.find(file)
    content = EXPERIMENTS.content(path)
    if "like" in content:
        content = _shared(content.pop("like"), path) | content
    for name, value in overrides.items():
        content = _with(content, name.split("."), value)
    experiment = EXPERIMENTS.fill(content, [], str(path))
    if home is None or experiment.data.home is not None:
        return experiment
    return replace(experiment, data=replace(experiment.data, home=str(home)))


def _shared(like: Any, file: Path) -> dict[str, Any]:
    """What a file takes of the one that it is like, a shipped one or one beside it."""
    beside = file.parent / str(like)
    content = EXPERIMENTS.content(beside if beside.is_file() else str(like))
    if "like" in content:
        raise HandsimError(f"{file} is like {like}, which is like {content['like']}; name that one")
    return {group: content[group] for group in SHARED if group in content}


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings in which later layers come over earlier ones, key by key."""
    together: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = together.get(name)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                together[name] = merged(below, value)
            else:
                together[name] = value
    return together


def _with(content: Any, names: Sequence[str], value: Any) -> dict[str, Any]:
    """Settings with one value put in; what was there under that name is gone."""
    settings = dict(content) if isinstance(content, Mapping) else {}
    rest = names[1:]
    return {**settings, names[0]: _with(settings.get(names[0]), rest, value) if rest else value}

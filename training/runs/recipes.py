"""Recipes: YAML files that fill a configuration, with overrides from the command line."""

import dataclasses
import difflib
import re
from argparse import SUPPRESS, ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from handsim.errors import HandsimError, NotThereError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SHIPPED: Final = Path(__file__).resolve().parents[2] / "recipes"
"""The recipes that come with handsim; they can be asked for by name."""

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")


@dataclass(frozen=True)
class Recipes(Generic[ConfigT]):
    """The recipes of one command, each of which fills one kind of configuration."""

    config: type[ConfigT]
    """The dataclass that they fill; its fields may be dataclasses."""
    folder: Path
    """Where those lie that come with handsim."""
    command: str
    """What takes them: ``handsim pretrain``."""

    def shipped(self) -> list[str]:
        """The names of those that come with handsim, as `read` takes them."""
        return sorted(path.stem for path in self.folder.glob("*.yaml"))

    def find(self, recipe: str | Path) -> Path:
        """The file of a recipe: a path, or the name of a shipped one; raises NotThereError otherwise."""
        path = Path(recipe)
        if path.is_file():
            return path
        named = self.folder / f"{recipe}.yaml"
        if named.is_file():
            return named
        known = self.shipped()
        raise NotThereError(
            f"there is no recipe {recipe}{_nearest(str(recipe), known)}; "
            f"give a YAML file, or one of {', '.join(known)}"
        )

    def read(self, recipe: str | Path, overrides: Sequence[str] = ()) -> ConfigT:
        """A recipe's settings, then ``overrides`` such as ``["--optimizer.lr", "1e-3"]``.

        What neither names keeps its default. Raises NotThereError for a recipe that is not there,
        HandsimError for a key that does not exist (naming the nearest one that does) or a value that cannot
        be.
        """
        path = self.find(recipe)
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise HandsimError(f"{path} cannot be read as YAML ({_one_line(error)})") from error
        if content is None:
            content = {}
        if not isinstance(content, Mapping):
            raise HandsimError(f"{path} holds a {type(content).__name__}; a recipe is a mapping of settings")
        return self.fill(content, overrides, str(path))

    def fill(self, content: Mapping[str, Any], overrides: Sequence[str], origin: str) -> ConfigT:
        """As `read`, from settings that are read already, such as those of a run that is resumed."""
        groups, values = _known(self.config)
        for key in _keys(content, groups):
            _check_key(key, groups, values, origin)
        for word in overrides:
            if word.startswith("--"):
                _check_key(word[2:].split("=")[0], groups, values, "the command line")
        parser = self._parser()
        try:
            base = parser.parse_object(dict(content), defaults=True)
            parsed = parser.parse_args(list(overrides), namespace=base)
            filled = parser.instantiate(parsed)
        except ArgumentError as error:
            raise HandsimError(f"{origin}: {_one_line(error)}") from error
        return self.config(**{name: filled[name] for name in get_type_hints(self.config)})

    def print_settings(self) -> None:
        """Every setting with its type, default and meaning, on the terminal."""
        parser = self._parser()
        groups, _ = _known(self.config)
        for action in parser._actions:
            if action.dest in groups:  # only what is below them is set
                action.help = SUPPRESS
        parser.print_help()

    def _parser(self) -> ArgumentParser:
        # Its help then shows the docstring below each field.
        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        parser = ArgumentParser(usage=f"{self.command} RECIPE [--SETTING VALUE ...]", exit_on_error=False)
        parser.add_class_arguments(self.config, None)
        return parser


def as_mapping(config: "DataclassInstance") -> dict[str, Any]:
    """All settings of a configuration as plain values: what `Recipes.fill` takes back."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(config))
    return plain


def as_yaml(config: "DataclassInstance") -> str:
    """All settings of a configuration as a recipe."""
    return yaml.safe_dump(as_mapping(config), sort_keys=False)


def _known(settings: type, prefix: str = "") -> tuple[set[str], set[str]]:
    """Dotted names of the groups and of the values below a dataclass."""
    groups, values = set(), set()
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            below = _known(hints[field.name], f"{name}.")
            groups |= {name, *below[0]}
            values |= below[1]
        else:
            values.add(name)
    return groups, values


def _keys(content: Mapping[str, Any], groups: set[str], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if name in groups and isinstance(value, Mapping):
            yield from _keys(value, groups, f"{name}.")
        else:
            yield name


def _check_key(key: str, groups: set[str], values: set[str], origin: str) -> None:
    if key in groups:
        raise HandsimError(f"{origin}: {key} is a group of settings; set those below it, as in {key}.NAME")
    if key not in values:
        raise HandsimError(f"{origin}: there is no setting {key}{_nearest(key, sorted(values))}")


def _nearest(word: str, known: Sequence[str]) -> str:
    """``; did you mean ...?`` for what is spelt like it, or has the same last name elsewhere."""
    last = word.rsplit(".", 1)[-1]
    same = [name for name in known if name.rsplit(".", 1)[-1] == last]
    found = same[:1] or difflib.get_close_matches(word, known, 1, 0.6)
    if not found:  # `topk` for `pairs.policy.top_k`
        lasts = {name.rsplit(".", 1)[-1]: name for name in known}
        found = [lasts[near] for near in difflib.get_close_matches(last, list(lasts), 1, 0.6)]
    return f"; did you mean {found[0]}?" if found else ""


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML and JSON both know."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _one_line(error: object) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()

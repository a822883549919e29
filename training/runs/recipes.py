"""Recipes: YAML files that fill a configuration, with overrides from the command line."""

import dataclasses
import re
from argparse import SUPPRESS, ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from handsim.errors import HandsimError, NotThereError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SHIPPED: Final = Path(__file__).resolve().parents[1] / "recipes"
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
    noun: str = "recipe"
    former: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Switches of groups of settings that there were, as ``group.setting``, and why a recipe with one that is
    on is refused; one that is off is read without the group."""

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
            f"there is no {self.noun} {recipe}{did_you_mean(str(recipe), known)}; "
            f"give a YAML file, or one of {', '.join(known)}"
        )

    def read(self, recipe: str | Path, overrides: Sequence[str] = ()) -> ConfigT:
        """A recipe's settings, then ``overrides`` such as ``["--optimizer.lr", "1e-3"]``.

        What neither names keeps its default. Raises NotThereError for a recipe that is not there,
        HandsimError for a key that does not exist (naming the nearest one that does) or a value that cannot
        be.
        """
        return self.fill(self.content(recipe), overrides, str(self.find(recipe)))

    def content(self, recipe: str | Path) -> dict[str, Any]:
        """A recipe's settings as its file has them, unchecked; raises as `read` for a file that is none."""
        path = self.find(recipe)
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise HandsimError(f"{path} cannot be read as YAML ({_one_line(error)})") from error
        if not isinstance(content, Mapping | None):
            raise HandsimError(f"{path} holds a {type(content).__name__}; it has to be a mapping of settings")
        return dict(content or {})

    def fill(self, content: Mapping[str, Any], overrides: Sequence[str], origin: str) -> ConfigT:
        """As `read`, from settings that are read already, such as those of a run that is resumed."""
        content = self._without_former(content, origin)
        groups, values = _known(self.config)
        for key, kind in _keys(content, groups):
            _check_key(key, kind, groups, values, origin)
        for word in overrides:
            if word.startswith("--"):
                key = word[2:].split("=")[0]
                _check_key(key, key, groups, values, "the command line")
        parser = self._parser
        try:
            # A copy, all the way down: it is filled in place.
            base = parser.parse_object(deepcopy(dict(content)), defaults=True)
            parsed = parser.parse_args(list(overrides), namespace=base) if overrides else base
            filled = parser.instantiate(parsed)
        except ArgumentError as error:
            raise HandsimError(f"{origin}: {_one_line(error)}") from error
        return self.config(**{name: filled[name] for name in get_type_hints(self.config)})

    def _without_former(self, content: Mapping[str, Any], origin: str) -> dict[str, Any]:
        remaining = dict(content)
        for switch, why in self.former.items():
            group, name = switch.split(".")
            settings = remaining.pop(group, None)
            if isinstance(settings, Mapping) and (value := settings.get(name)):
                raise HandsimError(f"{origin}: {switch} is {value}, but {why}; leave it out")
        return remaining

    def print_settings(self) -> None:
        """Every setting with its type, default and meaning, on the terminal."""
        parser = self._parser
        groups, _ = _known(self.config)
        for action in parser._actions:
            if action.dest in groups:  # only what is below them is set
                action.help = SUPPRESS
        parser.print_help()

    @cached_property
    def _parser(self) -> ArgumentParser:
        # Its help then shows the docstring below each field.
        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        parser = ArgumentParser(
            usage=f"{self.command} {self.noun.upper()} [--SETTING VALUE ...]", exit_on_error=False
        )
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
    """Dotted names of the groups and of the values below a dataclass; ``*`` stands for a free name."""
    groups, values = set(), set()
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        name, hint = prefix + field.name, hints[field.name]
        if get_origin(hint) is dict and dataclasses.is_dataclass(get_args(hint)[1]):
            groups.add(name)
            name, hint = f"{name}.*", get_args(hint)[1]
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            below = _known(hint, f"{name}.")
            groups |= {name, *below[0]}
            values |= below[1]
        else:
            values.add(name)
    return groups, values


def _keys(
    content: Mapping[str, Any], groups: set[str], prefix: str = "", kind_prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Dotted names of all that is set, each with the name that `_known` has for it."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        kind = f"{kind_prefix}*" if f"{kind_prefix}*" in groups else f"{kind_prefix}{key}"
        if kind in groups and isinstance(value, Mapping):
            yield from _keys(value, groups, f"{name}.", f"{kind}.")
        else:
            yield name, kind


def _check_key(key: str, kind: str, groups: set[str], values: set[str], origin: str) -> None:
    if kind in groups:
        raise HandsimError(f"{origin}: {key} is a group of settings; set those below it, as in {key}.NAME")
    if kind not in values:
        raise HandsimError(f"{origin}: there is no setting {key}{did_you_mean(kind, sorted(values))}")


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML and JSON both know."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _one_line(error: object) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()

"""From an experiment to the steps of each of its runs.

The steps that an experiment's runs are made of, and how equal ones are told.

Experiments from their files, with settings from the command line.

The configurations of an experiment's runs, filled from recipes, the base and the point.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import yaml

from handsim.embedding.image import FEATURES
from handsim.errors import HandsimError
from handsim.synthetic import SyntheticConfig
from training.datasets.open_dataset import WORLDS
from training.experiments.config import Axis, Experiment, Point, Settings
from training.finetune.config import RECIPES as FINETUNE_RECIPES
from training.finetune.config import FinetuneConfig
from training.pretrain.config import RECIPES as PRETRAIN_RECIPES
from training.pretrain.config import PretrainConfig
from training.runs.recipes import Recipes, as_mapping

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Kind = Literal["pool", "index", "dataset", "pretrain", "finetune", "evaluate"]
FORMAT: Final = 1
"""Raised when a step comes to mean something else; all are then done anew."""


@dataclass(frozen=True, eq=False)
class Step:
    """One thing to do, once, whoever needs it."""

    kind: Kind
    """What is done."""
    what: str
    """For people: what it was first asked for, without the seed. It decides nothing."""
    settings: Mapping[str, Any]
    """All that decides what comes out, beside the inputs, as plain values."""
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    """Steps that come before it, by what they are to it."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What is written for its command: settings as plain values, also those that decide nothing."""
    seed: int | None = None
    """Of a training; it is in the settings, too."""

    @property
    def title(self) -> str:
        """For people."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.kind} {self.what}{seed}"

    @cached_property
    def key(self) -> str:
        """16 hex digits: equal for steps that come to the same."""
        told = {
            "format": FORMAT,
            "kind": self.kind,
            "settings": self.settings,
            "inputs": {role: step.key for role, step in self.inputs.items()},
        }
        text = json.dumps(told, sort_keys=True, allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.kind}-{self.key}"


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps and all that come before them, each once, inputs first."""
    found: dict[str, Step] = {}
    for step in steps:
        for each in _with_inputs(step):
            found.setdefault(each.key, each)
    return list(found.values())


def _with_inputs(step: Step) -> Iterator[Step]:
    for before in step.inputs.values():
        yield from _with_inputs(before)
    yield step


EXPERIMENTS: Final = Recipes(
    Experiment, Path(__file__).resolve().with_name("shipped"), "handsim experiment", "experiment"
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


ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

_DECIDED_ELSEWHERE: Final[Mapping[tuple[str, ...], str]] = {
    ("encoder", "init"): "axes.methods.NAME.init",
    ("data", "root"): "data.datasets.NAME.root",
    ("data", "label_fraction"): "axes.label_fractions",
    ("seed",): "axes.seeds",
}
"""Settings of a recipe that an experiment has a place of its own for."""


@dataclass(frozen=True, eq=False)
class Filling:
    """Fills them; raises HandsimError for recipes that are not there and for settings that do not fit."""

    experiment: Experiment
    """Whose runs they are."""
    _filled: dict[str, Any] = field(default_factory=dict)
    # Most runs differ from others in little, and filling a configuration takes a while.

    def world(self, world: str | None, settings: Settings, origin: str) -> SyntheticConfig:
        """What is filmed."""
        content = WORLDS.content(world) if world is not None else {}
        return self._fill(WORLDS, merged(content, settings), origin)

    def start(self, seed: int) -> PretrainConfig:
        """The pre-training that methods may begin with."""
        start = self.experiment.start
        assert start.recipe is not None
        return replace(self._pretrain(start.recipe, [start.settings], "start"), seed=seed)

    def pretrain(self, point: Point, seed: int) -> PretrainConfig:
        """A point's pre-training, but for the weights it begins with."""
        axes = self.experiment.axes
        method = axes.methods[point.method]
        assert method.recipe is not None
        layers = [method.settings]
        if point.weighting is not None:
            layers.append({"loss": {"weighting": axes.weightings[point.weighting]}})
        origin = f"method {point.method}"
        config = self._pretrain(method.recipe, layers, origin)
        if point.top_k is not None and asks_index(config):
            layers.append({"pairs": {"policy": {"top_k": point.top_k}}})
            config = self._pretrain(method.recipe, layers, origin)
        return replace(config, seed=seed)

    def finetune(self, point: Point, seed: int) -> FinetuneConfig:
        """A point's fine-tuning, but for its trunk's weights and where the data lie."""
        dataset = self.experiment.data.datasets[point.dataset]
        content = merged(
            FINETUNE_RECIPES.content(dataset.recipe),
            self.experiment.base.finetune,
            dataset.finetune,
            self.experiment.axes.label_fractions[point.label_fraction],
        )
        origin = f"fine-tuning on {point.dataset}"
        _check_decided_elsewhere(content, origin)
        config = self._fill(FINETUNE_RECIPES, content, origin)
        data = replace(config.data, label_fraction=float(point.label_fraction))
        return replace(config, data=data, seed=seed)

    def _pretrain(self, recipe: str, layers: list[Settings], origin: str) -> PretrainConfig:
        base = self.experiment.base.pretrain
        content = merged(PRETRAIN_RECIPES.content(recipe), base, *layers)
        _check_decided_elsewhere(content, origin)
        config = self._fill(PRETRAIN_RECIPES, content, origin)
        if config.feedback.every_epochs:
            raise HandsimError(
                f"{origin}: feedback.every_epochs is {config.feedback.every_epochs}; it would publish into "
                f"an index that runs share, set it to 0"
            )
        return config

    def _fill(self, recipes: Recipes[ConfigT], content: dict[str, Any], origin: str) -> ConfigT:
        key = f"{recipes.command} {json.dumps(content, sort_keys=True, default=repr)}"
        if key not in self._filled:
            self._filled[key] = recipes.fill(content, [], origin)
        filled: ConfigT = self._filled[key]
        return filled


def asks_index(config: PretrainConfig) -> bool:
    """Whether its pairs come from the live index."""
    return config.pairs.positives == "neighbours" and config.pairs.table is None


def _check_decided_elsewhere(content: Mapping[str, Any], origin: str) -> None:
    """A value that would be passed over in silence would have people compare what they did not mean to."""
    for names, place in _DECIDED_ELSEWHERE.items():
        value: Any = content
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            raise HandsimError(f"{origin}: {'.'.join(names)} is {value}; leave it out, {place} says it")


_DECIDE_NOTHING: Final = (("log",), ("trainer", "workers"))
"""Settings of a training that say what is told of it and how fast it goes, not what comes out."""


@dataclass(frozen=True, eq=False)
class Run:
    """One point with one seed."""

    point: Point
    """What it is."""
    seed: int
    """And with which seed."""
    evaluation: Step
    """What its numbers come from."""


def expand(experiment: Experiment) -> list[Run]:
    """Its runs, all of the first seed first. Equal steps of them have equal keys.

    Every run's settings are checked on the way: raises HandsimError for recipes and settings that are not
    there or do not fit.
    """
    expansion = _Expansion(experiment, Filling(experiment))
    return [
        Run(point, seed, expansion.evaluation(point, seed))
        for seed in experiment.axes.seeds
        for point in experiment.points()
    ]


@dataclass(frozen=True, eq=False)
class _Expansion:
    """Makes the steps of one experiment, from the last one backwards."""

    experiment: Experiment
    filling: Filling

    def evaluation(self, point: Point, seed: int) -> Step:
        tuned = self._finetuning(point, seed)
        split = self.experiment.data.datasets[point.dataset].split
        return Step("evaluate", tuned.what, {"split": split}, {"finetune": tuned}, seed=seed)

    def _finetuning(self, point: Point, seed: int) -> Step:
        config = self.filling.finetune(point, seed)
        architecture = config.encoder.architecture
        trunk, init = self._trunk(point, seed, architecture)
        dataset = self.experiment.data.datasets[point.dataset]
        recipe = as_mapping(replace(config, encoder=replace(config.encoder, init=init)))
        inputs = {} if trunk is None else {"init": trunk}
        if dataset.root is not None:
            recipe["data"]["root"] = str(Path(dataset.root).resolve())
        elif dataset.is_filmed:
            inputs["dataset"] = self._filmed(point.dataset, config.data.dataset)
        before = point.method if trunk is None or trunk.what == "start" else trunk.what
        what = f"{before}, {100 * point.label_fraction:g} % of {point.dataset}"
        return Step("finetune", what, {"config": _deciding(recipe)}, inputs, recipe, seed)

    def _trunk(self, point: Point, seed: int, architecture: str) -> tuple[Step | None, str | None]:
        """What fine-tuning begins with: a step, or the name of weights that are there, or neither."""
        method = self.experiment.axes.methods[point.method]
        before, init = self._beginning(method.init, seed, architecture)
        if method.recipe is None:
            return before, init
        config = self.filling.pretrain(point, seed)
        what = point.method + self._varied(point, ("pool", "weighting"))
        if asks_index(config):
            what += self._varied(point, ("top_k", "components"))
        step = self._pretraining(what, config, point.pool, point.components, before, init)
        _check_same(what, config.encoder.architecture, architecture)
        return step, None

    def _beginning(self, init: str | None, seed: int, architecture: str) -> tuple[Step | None, str | None]:
        if init != "start":
            named = init is None or init in FEATURES
            return None, init if named else str(Path(str(init)).resolve())
        config = self.filling.start(seed)
        _check_same("start", config.encoder.architecture, architecture)
        pool = self.experiment.start.pool or next(iter(self.experiment.data.pools))
        return self._pretraining("start", config, pool, None, None, None), None

    def _pretraining(
        self,
        what: str,
        config: PretrainConfig,
        pool: str,
        components: int | None,
        before: Step | None,
        init: str | None,
    ) -> Step:
        recipe = as_mapping(replace(config, encoder=replace(config.encoder, init=init)))
        inputs = {} if before is None else {"init": before}
        settings, pooled = self._pool(pool)
        inputs |= pooled
        if asks_index(config):
            inputs["index"] = self._index(pool, components)
        settings["config"] = _deciding(recipe)
        return Step("pretrain", what, settings, inputs, recipe, config.seed)

    def _index(self, pool: str, components: int | None) -> Step:
        base = self.experiment.base
        settings, inputs = self._pool(pool)
        settings["components"] = base.components if components is None else components
        settings["normalisation"] = base.normalisation
        return Step("index", f"{pool}, {settings['components']} components", settings, inputs)

    def _pool(self, name: str) -> tuple[dict[str, Any], dict[str, Step]]:
        """For the settings of a step that needs the pool, and for its inputs."""
        pool = self.experiment.data.pools[name]
        if pool.hands is None:
            return self._whole_pool(name, name)
        settings, inputs = self._whole_pool(name, f"for {name}")
        return {}, {"pool": Step("pool", name, {**settings, "hands": pool.hands}, inputs)}

    def _whole_pool(self, name: str, what: str) -> tuple[dict[str, Any], dict[str, Step]]:
        data = self.experiment.data
        pool = data.pools[name]
        if not pool.is_filmed:
            home = pool.home or data.home
            return {"home": None if home is None else str(Path(home).resolve())}, {}
        world = as_mapping(self.filling.world(pool.world, pool.settings, f"pool {name}"))
        settings = {"world": world, "keypoint_noise": pool.keypoint_noise}
        return {}, {"pool": Step("pool", what, settings, recipe=world)}

    def _filmed(self, name: str, layout: str) -> Step:
        dataset = self.experiment.data.datasets[name]
        world = as_mapping(self.filling.world(dataset.world, dataset.settings, f"dataset {name}"))
        return Step("dataset", name, {"world": world, "layout": layout}, recipe=world)

    def _varied(self, point: Point, axes: tuple[Axis, ...]) -> str:
        """What tells a point from others of its method."""
        several = [axis for axis in axes if len(self.experiment.labels(axis)) > 1]
        return "".join(f", {axis.replace('_', ' ')} {point.label(axis)}" for axis in several)


def _check_same(what: str, trained: str, tuned: str) -> None:
    if trained != tuned:
        raise HandsimError(
            f"{what} pre-trains a {trained}, and a {tuned} is fine-tuned; make encoder.architecture the same"
        )


def _deciding(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe's settings without those that decide nothing."""
    kept = {name: dict(value) if isinstance(value, dict) else value for name, value in recipe.items()}
    for *groups, name in _DECIDE_NOTHING:
        place = kept
        for group in groups:
            place = place[group]
        del place[name]
    return kept

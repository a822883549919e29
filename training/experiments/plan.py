"""From an experiment to the steps of its runs: every configuration is resolved and checked on the way.

A run is one point with one seed. Its steps are made from the last one backwards: evaluation, fine-tuning,
pre-training, index, pool. Only settings that change a result enter a step's key, so an axis that means
nothing to a method (top K to SimCLR) adds no step.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from handsim.embedding.image import FEATURES
from handsim.errors import HandsimError, NotThereError
from handsim.geometry import CROP_ENLARGEMENT
from handsim.home import Home
from handsim.lists import HandLists
from handsim.synthetic import SyntheticConfig
from index.query import MIN_POSITIVE_DISTANCE
from training.datasets.synthetic import WORLDS
from training.experiments.config import Axis, Experiment, Point, SearchSettings, Settings
from training.experiments.steps import Step
from training.finetune.config import RECIPES as FINETUNE_RECIPES
from training.finetune.config import FinetuneConfig
from training.losses import NearNegatives
from training.pretrain.config import RECIPES as PRETRAIN_RECIPES
from training.pretrain.config import PretrainConfig
from training.runs.recipes import Recipes, as_mapping

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

_RESERVED_SETTINGS: Final[Mapping[tuple[str, ...], str]] = {
    ("encoder", "init"): "axes.methods.NAME.init",
    ("data", "root"): "data.datasets.NAME.root",
    ("data", "label_fraction"): "axes.label_fractions",
    ("seed",): "axes.seeds",
}
"""Settings of a recipe that an experiment sets elsewhere, and where."""
_WITHOUT_EFFECT: Final = (("log",), ("trainer", "workers"))
"""Settings of a training that change what it logs and how fast it is, not its result."""
_AS_IN_BASE: Final = SearchSettings()
_LATER_DEFAULTS: Final[Mapping[tuple[str, ...], Any]] = {
    ("optimizer", "lars_variant"): "capped",
    ("augmentation", "extent"): "box",
    ("estimator", "heat_maps"): "linear",
    ("estimator", "loss_balance"): "by_size",
    ("loss", "negatives"): "all_processes",
    ("pairs", "depth"): False,
    ("pairs", "up_to_turn"): False,
    ("pairs", "policy", "min_distance"): MIN_POSITIVE_DISTANCE,
    ("pairs", "policy", "keep_duplicates"): False,
    ("pairs", "policy", "max_quantile"): None,
    ("pairs", "include_list"): None,
    ("pairs", "exclude_list"): None,
    ("loss", "weighting", "source"): "views",
    ("loss", "weighting", "normalised"): False,
    ("loss", "near"): asdict(NearNegatives()),
    ("loss", "queue"): 0,
    ("trainer", "steps"): None,
    ("trainer", "trunk_lr_factor"): 1.0,
    ("data", "label_subset"): "random",
    ("data", "skip_bad"): None,
}
"""Settings that recipes and synthetic worlds got after experiments were run, with the value that was the only
one before: they are no part of a step's key, which has to stay the same."""
_FORMER_DEFAULTS: Final = {
    "feedback": {"every_epochs": 0, "pose_share": 0.5, "components": 64, "keep_versions": 2}
}
"""Settings that pre-training had, with the only values that experiments took: part of a step's key, which has
to stay the same."""


@dataclass(frozen=True, eq=False)
class Run:
    """One point with one seed."""

    point: Point
    seed: int
    evaluation: Step


def expand(experiment: Experiment) -> list[Run]:
    """The runs of an experiment, all of the first seed first; equal steps of them have equal keys.

    Raises HandsimError for unknown recipes, and for settings that are unknown or out of bounds.
    """
    planner = _Planner(experiment, ConfigResolver(experiment))
    return [
        Run(point, seed, planner.evaluation(point, seed))
        for seed in experiment.axes.seeds
        for point in experiment.points()
    ]


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings in which later layers replace earlier ones, key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = merged.get(name)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                value = merge_settings(below, value)
            merged[name] = value
    return merged


@dataclass(frozen=True, eq=False)
class ConfigResolver:
    """Makes the configuration of each training and each synthetic world out of the layers of settings.

    Layers are the recipe, the experiment's base, and the values on the axes; later ones replace earlier ones.
    Raises HandsimError for unknown recipes, and for settings that are unknown or out of bounds.
    """

    experiment: Experiment
    _cache: dict[str, Any] = field(default_factory=dict)
    # Many runs share a configuration, and filling one takes a while.

    def world(self, world: str | None, settings: Settings, origin: str) -> SyntheticConfig:
        """A world with changes; ``origin`` is named in errors."""
        content = WORLDS.content(world) if world is not None else {}
        return self._fill(WORLDS, merge_settings(content, settings), origin)

    def start(self, seed: int) -> PretrainConfig:
        """The pre-training that methods may start from."""
        start = self.experiment.start
        assert start.recipe is not None
        return replace(self._pretrain(start.recipe, [start.settings], "start"), seed=seed)

    def pretrain(self, point: Point, seed: int) -> PretrainConfig:
        """The pre-training of a point, without its initial weights."""
        axes = self.experiment.axes
        method = axes.methods[point.method]
        assert method.recipe is not None
        layers = [method.settings]
        if point.weighting is not None:
            layers.append({"loss": {"weighting": axes.weightings[point.weighting]}})
        origin = f"method {point.method}"
        config = self._pretrain(method.recipe, layers, origin)
        if point.top_k is not None and searches_index(config):
            layers.append({"pairs": {"policy": {"top_k": point.top_k}}})
            config = self._pretrain(method.recipe, layers, origin)
        return replace(config, seed=seed)

    def finetune(self, point: Point, seed: int) -> FinetuneConfig:
        """The fine-tuning of a point, without its initial weights and the place of its data."""
        dataset = self.experiment.data.datasets[point.dataset]
        content = merge_settings(
            FINETUNE_RECIPES.content(dataset.recipe),
            self.experiment.base.finetune,
            dataset.finetune,
            self.experiment.axes.label_fractions[point.label_fraction],
            self.experiment.axes.methods[point.method].finetune,
        )
        origin = f"fine-tuning on {point.dataset}"
        _check_reserved(content, origin)
        config = self._fill(FINETUNE_RECIPES, content, origin)
        data = replace(config.data, label_fraction=float(point.label_fraction))
        return replace(config, data=data, seed=seed)

    def _pretrain(self, recipe: str, layers: list[Settings], origin: str) -> PretrainConfig:
        base = self.experiment.base.pretrain
        content = merge_settings(PRETRAIN_RECIPES.content(recipe), base, *layers)
        _check_reserved(content, origin)
        return self._fill(PRETRAIN_RECIPES, content, origin)

    def _fill(self, recipes: Recipes[ConfigT], content: dict[str, Any], origin: str) -> ConfigT:
        key = f"{recipes.command} {json.dumps(content, sort_keys=True, default=repr)}"
        if key not in self._cache:
            self._cache[key] = recipes.fill(content, [], origin)
        config: ConfigT = self._cache[key]
        return config


def searches_index(config: PretrainConfig) -> bool:
    """Whether its pairs come from the live index."""
    return config.pairs.positives == "neighbours" and config.pairs.table is None


def _check_reserved(content: Mapping[str, Any], origin: str) -> None:
    """Refuse a value that the experiment would replace: the runs would not be what the file says."""
    for names, place in _RESERVED_SETTINGS.items():
        value: Any = content
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            raise HandsimError(f"{origin}: {'.'.join(names)} is {value}; leave it out and set {place}")


@dataclass(frozen=True, eq=False)
class _Planner:
    """Makes the steps of one experiment, from the last one backwards."""

    experiment: Experiment
    configs: ConfigResolver

    def evaluation(self, point: Point, seed: int) -> Step:
        finetune = self._finetune(point, seed)
        split = self.experiment.data.datasets[point.dataset].split
        return Step("evaluate", finetune.description, {"split": split}, {"finetune": finetune}, seed=seed)

    def _finetune(self, point: Point, seed: int) -> Step:
        config = self.configs.finetune(point, seed)
        trunk, init = self._trunk(point, seed, config.encoder.architecture)
        dataset = self.experiment.data.datasets[point.dataset]
        recipe = as_mapping(replace(config, encoder=replace(config.encoder, init=init)))
        inputs = {} if trunk is None else {"init": trunk}
        if dataset.root is not None:
            recipe["data"]["root"] = str(Path(dataset.root).resolve())
        elif dataset.is_synthetic:
            inputs["dataset"] = self._synthetic_dataset(point.dataset, config.data.dataset)
        before = point.method if trunk is None or trunk.description == "start" else trunk.description
        description = f"{before}, {100 * point.label_fraction:g} % of {point.dataset}"
        return Step("finetune", description, {"config": _with_effect(recipe)}, inputs, recipe, seed)

    def _trunk(self, point: Point, seed: int, architecture: str) -> tuple[Step | None, str | None]:
        """What fine-tuning starts from: a step, or existing weights by name or path, or neither."""
        method = self.experiment.axes.methods[point.method]
        before, init = self._init(method.init, seed, architecture)
        if method.recipe is None:
            return before, init
        config = self.configs.pretrain(point, seed)
        description = point.method + self._varying(point, ("pool", "weighting"))
        if searches_index(config):
            description += self._varying(point, ("top_k", "components"))
        step = self._pretrain(
            description, config, point.pool, point.components, before, init, method.embedding
        )
        _check_same_architecture(description, config.encoder.architecture, architecture)
        return step, None

    def _init(self, init: str | None, seed: int, architecture: str) -> tuple[Step | None, str | None]:
        """The initial weights of a method, as `_trunk` returns them."""
        if init != "start":
            is_name = init is None or init in FEATURES
            return None, init if is_name else str(Path(str(init)).resolve())
        config = self.configs.start(seed)
        _check_same_architecture("start", config.encoder.architecture, architecture)
        pool = self.experiment.start.pool or next(iter(self.experiment.data.pools))
        return self._pretrain("start", config, pool, None, None, None), None

    def _pretrain(
        self,
        description: str,
        config: PretrainConfig,
        pool: str,
        components: int | None,
        before: Step | None,
        init: str | None,
        search: SearchSettings = _AS_IN_BASE,
    ) -> Step:
        recipe = as_mapping(replace(config, encoder=replace(config.encoder, init=init)))
        settings, pool_input = self._pool(pool)
        inputs = {} if before is None else {"init": before}
        inputs |= pool_input
        if searches_index(config):
            pairs = config.pairs
            search = replace(
                search,
                depth=search.depth or pairs.depth,
                up_to_turn=search.up_to_turn or pairs.up_to_turn,
            )
            inputs["index"] = self._index(pool, components, search)
        if lists := self._lists(pool, config):
            settings["lists"] = lists
        settings["config"] = {**_with_effect(recipe), **_FORMER_DEFAULTS}
        return Step("pretrain", description, settings, inputs, recipe, config.seed)

    def _lists(self, pool: str, config: PretrainConfig) -> dict[str, str | None]:
        """A digest of the hands of each list that the training looks at: a list that changed is another run.

        None for one that is not there, which its training says.
        """
        names = [name for name in (config.pairs.include_list, config.pairs.exclude_list) if name is not None]
        hands = self.experiment.data.pools[pool]
        home = None if hands.is_synthetic else hands.home or self.experiment.data.home
        return (
            {} if home is None else {name: _digest(HandLists(Home(Path(home)).lists), name) for name in names}
        )

    def _index(self, pool: str, components: int | None, search: SearchSettings) -> Step:
        base = self.experiment.base
        settings, inputs = self._pool(pool)
        settings["components"] = base.components if components is None else components
        settings["normalisation"] = search.normalisation or base.normalisation
        # Only where they are set: an index that an earlier handsim made is the same step.
        steps = {name: True for name in ("depth", "up_to_turn") if getattr(search, name)}
        settings |= steps
        words = [f"{settings['components']} components", *(name.replace("_", " ") for name in steps)]
        return Step("index", ", ".join([pool, *words]), settings, inputs)

    def _pool(self, name: str) -> tuple[dict[str, Any], dict[str, Step]]:
        """What a step that needs the pool has in its settings and in its inputs."""
        pool = self.experiment.data.pools[name]
        if pool.hands is None:
            return self._whole_pool(name, name)
        settings, inputs = self._whole_pool(name, f"for {name}")
        return {}, {"pool": Step("pool", name, {**settings, "hands": pool.hands}, inputs)}

    def _whole_pool(self, name: str, description: str) -> tuple[dict[str, Any], dict[str, Step]]:
        data = self.experiment.data
        pool = data.pools[name]
        if not pool.is_synthetic:
            home = pool.home or data.home
            return {"home": None if home is None else str(Path(home).resolve())}, {}
        world = as_mapping(self.configs.world(pool.world, pool.settings, f"pool {name}"))
        settings = {"world": _without_later_defaults(world), "keypoint_noise": pool.keypoint_noise}
        if pool.crop_enlargement != CROP_ENLARGEMENT:  # that of pools before there was a choice
            settings["crop_enlargement"] = pool.crop_enlargement
        return {}, {"pool": Step("pool", description, settings, recipe=world)}

    def _synthetic_dataset(self, name: str, layout: str) -> Step:
        dataset = self.experiment.data.datasets[name]
        world = as_mapping(self.configs.world(dataset.world, dataset.settings, f"dataset {name}"))
        settings = {"world": _without_later_defaults(world), "layout": layout}
        return Step("dataset", name, settings, recipe=world)

    def _varying(self, point: Point, axes: Sequence[Axis]) -> str:
        """The values of a point on those of the axes that have several."""
        several = [axis for axis in axes if len(self.experiment.labels(axis)) > 1]
        return "".join(f", {axis.replace('_', ' ')} {point.label(axis)}" for axis in several)


def _digest(lists: HandLists, name: str) -> str | None:
    try:
        hand_ids = lists.read(name).hand_ids
    except NotThereError:
        return None
    return sha256(np.sort(hand_ids).astype("<u8").tobytes()).hexdigest()[:16]


def _check_same_architecture(description: str, pretrained: str, finetuned: str) -> None:
    if pretrained != finetuned:
        raise HandsimError(
            f"{description} pre-trains a {pretrained}, and a {finetuned} is fine-tuned; "
            f"make encoder.architecture the same"
        )


def _with_effect(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings but for those in `_WITHOUT_EFFECT` and `_LATER_DEFAULTS`."""
    settings = _without_later_defaults(recipe)
    for *groups, name in _WITHOUT_EFFECT:
        del _group(settings, groups)[name]
    return settings


def _without_later_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    remaining = copy.deepcopy(dict(settings))
    for (*groups, name), default in _LATER_DEFAULTS.items():
        group = _group(remaining, groups)  # empty where this kind of step has no such settings
        if name in group and group[name] == default:
            del group[name]
    return remaining


def _group(settings: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The settings at a path; empty where there are none."""
    for name in path:
        settings = settings.get(name) or {}
    return settings

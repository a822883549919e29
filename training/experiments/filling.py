"""The configurations of an experiment's runs, filled from recipes, the base and the point."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from handsim.errors import HandsimError
from handsim.synthetic import SyntheticConfig
from training.datasets.worlds import WORLDS
from training.experiments.axes import Point
from training.experiments.config import Experiment, Settings
from training.experiments.reading import merged
from training.finetune.config import FinetuneConfig
from training.finetune.recipe import RECIPES as FINETUNE_RECIPES
from training.pretrain.config import PretrainConfig
from training.pretrain.recipe import RECIPES as PRETRAIN_RECIPES
from training.runs.recipes import Recipes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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

"""From an experiment to the steps of each of its runs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from handsim.embedding.image.architectures import FEATURES
from handsim.errors import HandsimError
from training.experiments.axes import Axis, Point
from training.experiments.config import Experiment
from training.experiments.filling import Filling, asks_index
from training.experiments.steps import Step
from training.pretrain.config import PretrainConfig
from training.runs.recipes import as_mapping

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

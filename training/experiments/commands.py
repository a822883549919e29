"""What a step is done with: our own commands, and the files that they read."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from handsim.atomic_file import write_text_atomically
from training.evaluation.report import REPORT_FILE
from training.experiments.steps import Kind, Step
from training.experiments.store import StepStore
from training.runs.checkpoints import BEST, LAST

Command = list[str]
"""The words after ``handsim``."""

RUN: Final = "run"
"""Name of the one run in a step's folder."""


def prepare(step: Step, store: StepStore) -> list[Command]:
    """Make a step's folder ready, which must exist, and tell what is to be run there in turn.

    Trainings that were interrupted go on where they stopped, pools get what they lack; of anything else
    that is half done nothing is kept.
    """
    return _PREPARE[step.kind](step, store)


def tidy(step: Step, store: StepStore) -> None:
    """Remove the checkpoint of a training that is done which nobody asks for."""
    if step.kind in _CHECKPOINTS:
        kept = _checkpoint(step, store)
        for name in (BEST, LAST):
            if kept.exists() and name != kept.name:
                (kept.parent / name).unlink(missing_ok=True)


def report_file(step: Step, store: StepStore) -> Path:
    """Where an evaluation leaves its numbers."""
    return store.folder(step).path / "runs" / RUN / REPORT_FILE


_CHECKPOINTS: Final = {"pretrain": LAST, "finetune": BEST}
"""What others take of a training: of fine-tuning, the one with the lowest error on the validation split."""


def _checkpoint(step: Step, store: StepStore) -> Path:
    return store.folder(step).path / "runs" / RUN / "checkpoints" / _CHECKPOINTS[step.kind]


def _pool(step: Step, store: StepStore) -> list[Command]:
    home = store.folder(step).path
    if "hands" in step.settings:
        shutil.rmtree(home / "pool", ignore_errors=True)
        whole, hands = str(_home_of_pool(step, store)), str(step.settings["hands"])
        return [["pool", "subset", hands, "--to", str(home), "--home", whole]]
    world = _write_settings(home / "world.yaml", step.recipe)
    noise = str(step.settings["keypoint_noise"])
    return [["synth", "--world", world, "--keypoint-noise", noise, "--home", str(home)]]


def _index(step: Step, store: StepStore) -> list[Command]:
    home = store.folder(step).path
    _link_pool(step, store)
    shutil.rmtree(home / "index", ignore_errors=True)
    (home / "embedding.json").unlink(missing_ok=True)
    components, normalisation = str(step.settings["components"]), step.settings["normalisation"]
    fit = ["embedding", "fit", "--components", components, "--normalisation", normalisation]
    return [[*fit, "--home", str(home)], ["index", "build", "--home", str(home)]]


def _dataset(step: Step, store: StepStore) -> list[Command]:
    folder = store.folder(step).path
    shutil.rmtree(_set(step, store), ignore_errors=True)
    world = _write_settings(folder / "world.yaml", step.recipe)
    return [["synth", "--world", world, "--layout", step.settings["layout"], "--out", str(_set(step, store))]]


def _pretrain(step: Step, store: StepStore) -> list[Command]:
    _link_pool(step, store)
    index = []
    if "index" in step.inputs:
        index = ["--index", str(store.folder(step.inputs["index"]).path / "index")]
    return [[*_training(step, store, step.recipe), *index]]


def _finetune(step: Step, store: StepStore) -> list[Command]:
    recipe = dict(step.recipe)
    if "dataset" in step.inputs:
        recipe["data"] = {**recipe["data"], "root": str(_set(step.inputs["dataset"], store))}
    return [_training(step, store, recipe)]


def _evaluate(step: Step, store: StepStore) -> list[Command]:
    command = ["evaluate", "pose", str(_checkpoint(step.inputs["finetune"], store)), "--name", RUN]
    split = step.settings["split"]
    return [
        [*command, *([] if split is None else ["--split", split]), "--home", str(store.folder(step).path)]
    ]


_PREPARE: Final[Mapping[Kind, Callable[[Step, StepStore], list[Command]]]] = {
    "pool": _pool,
    "index": _index,
    "dataset": _dataset,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "evaluate": _evaluate,
}


def _training(step: Step, store: StepStore, recipe: Mapping[str, Any]) -> Command:
    """``handsim pretrain`` or ``finetune``, from its beginning or on from where it stopped."""
    home = store.folder(step).path
    if (home / "runs" / RUN / "checkpoints" / LAST).exists():
        return [step.kind, RUN, "--resume", "--home", str(home)]
    shutil.rmtree(home / "runs", ignore_errors=True)
    if "init" in step.inputs:
        init = str(_checkpoint(step.inputs["init"], store))
        recipe = {**recipe, "encoder": {**recipe["encoder"], "init": init}}
    written = _write_settings(home / "recipe.yaml", recipe)
    return [step.kind, written, "--name", RUN, "--home", str(home)]


def _set(dataset: Step, store: StepStore) -> Path:
    return store.folder(dataset).path / "set"


def _home_of_pool(step: Step, store: StepStore) -> Path:
    """Where the pool lies that a step needs: another step's folder, or a home."""
    return store.folder(step.inputs["pool"]).path if "pool" in step.inputs else Path(step.settings["home"])


def _link_pool(step: Step, store: StepStore) -> None:
    """Have the folder show the pool as its own."""
    link = store.folder(step).path / "pool"
    link.unlink(missing_ok=True)
    link.symlink_to(_home_of_pool(step, store) / "pool")


def _write_settings(path: Path, settings: Mapping[str, Any]) -> str:
    write_text_atomically(path, yaml.safe_dump(dict(settings), sort_keys=False))
    return str(path)

"""The experiments that come with handsim: how much each is, what it shows, and what they share."""

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import yaml

from handsim.errors import HandsimError
from training.experiments.config import EXPERIMENTS, Experiment, check_inputs, read_experiment
from training.experiments.plan import expand
from training.experiments.steps import Kind, Step, in_order
from training.finetune.config import RECIPES as FINETUNE_RECIPES
from training.pretrain.config import RECIPES as PRETRAIN_RECIPES
from training.runs.recipes import as_mapping

STEPS: dict[str, dict[Kind, int]] = {
    "embedding_dimension": {"pool": 1, "index": 6, "pretrain": 18, "finetune": 18},
    "label_fraction": {"index": 1, "pretrain": 9, "finetune": 90},
    "main": {"index": 1, "pretrain": 15, "finetune": 63},
    "pretraining_size": {"pool": 4, "index": 5, "pretrain": 45, "finetune": 45},
    "top_k": {"pool": 1, "index": 1, "pretrain": 18, "finetune": 18},
    "weights": {"pool": 1, "index": 1, "pretrain": 21, "finetune": 21},
    "synthetic_embedding_dimension": {"pool": 1, "dataset": 1, "index": 4, "pretrain": 15, "finetune": 12},
    "synthetic_label_fraction": {"pool": 1, "dataset": 1, "index": 1, "pretrain": 9, "finetune": 48},
    "synthetic_main": {"pool": 1, "dataset": 1, "index": 1, "pretrain": 15, "finetune": 36},
    "synthetic_main_gpu": {"pool": 1, "dataset": 1, "index": 1, "pretrain": 18, "finetune": 42},
    "synthetic_pretraining_size": {"pool": 3, "dataset": 1, "index": 3, "pretrain": 18, "finetune": 21},
    "synthetic_tiny": {"pool": 1, "dataset": 1, "index": 1, "pretrain": 4, "finetune": 12},
    "synthetic_top_k": {"pool": 1, "dataset": 1, "index": 1, "pretrain": 15, "finetune": 12},
    "synthetic_weights": {"pool": 1, "dataset": 1, "index": 1, "pretrain": 24, "finetune": 21},
}
"""By kind; each fine-tuning is evaluated once."""
SYNTHETIC = [name for name in STEPS if name.startswith("synthetic_")]
REAL = [name for name in STEPS if name not in SYNTHETIC]
HOME = Path("somebodys-home")
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "experiments.md").read_text()


@cache
def _experiment(name: str) -> Experiment:
    return read_experiment(name, {}, HOME)


@cache
def _steps(name: str) -> list[Step]:
    """Expanding checks every run's settings."""
    return in_order(run.evaluation for run in expand(_experiment(name)))


def _missing(name: str, after: str) -> dict[Kind, int]:
    """What is left to do of one when another one is done, by kind."""
    done = {step.key for step in _steps(after)}
    return dict(Counter(step.kind for step in _steps(name) if step.key not in done))


def test_these_are_all() -> None:
    assert EXPERIMENTS.shipped() == sorted(STEPS)
    assert {name for name in STEPS if f"| `{name}` |" in PAGE} == {*STEPS}


def test_the_page_s_example_can_be_run() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    experiment = EXPERIMENTS.fill(yaml.safe_load(example.group(1)), [], "the page")
    assert {step.kind for step in in_order(run.evaluation for run in expand(experiment))} == {*get_args(Kind)}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str) -> None:
    counts = Counter(step.kind for step in _steps(name))
    assert counts == {**STEPS[name], "evaluate": STEPS[name]["finetune"]}


@pytest.mark.parametrize("name", STEPS)
def test_what_is_written_for_its_trainings_can_be_read(name: str) -> None:
    """The last one of each kind, which differs most from the recipe."""
    last = {step.kind: step for step in _steps(name)}
    pretrain, finetune = last["pretrain"], last["finetune"]
    assert as_mapping(PRETRAIN_RECIPES.fill(pretrain.recipe, [], pretrain.title)) == pretrain.recipe
    assert as_mapping(FINETUNE_RECIPES.fill(finetune.recipe, [], finetune.title)) == finetune.recipe


@pytest.mark.parametrize("name", STEPS)
def test_what_it_shows(name: str) -> None:
    """Tables are of means over three seeds, and those of the papers are named as the experiment."""
    experiment = _experiment(name)
    assert experiment.title
    assert experiment.tables
    assert len(experiment.axes.seeds) == (2 if name == "synthetic_tiny" else 3)
    told = name.removeprefix("synthetic_").removesuffix("_gpu")
    assert told in experiment.tables or told == "tiny"


@pytest.mark.parametrize("name", REAL)
def test_real_ones_ask_where_their_data_lie(name: str) -> None:
    setting = "data.datasets.freihand.root"
    with pytest.raises(HandsimError, match=f"{setting} is not set; give its place with --{setting} FOLDER"):
        check_inputs(_experiment(name))


def test_a_home_s_pool_is_taken_unless_another_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "home" / "pool").mkdir(parents=True)
    root = {"data.datasets.freihand.root": str(tmp_path)}
    check_inputs(read_experiment("top_k", root, tmp_path / "home"))
    with pytest.raises(HandsimError, match=r"data\.home is .*, which has no folder pool; give another one,"):
        check_inputs(read_experiment("top_k", root, tmp_path))
    check_inputs(read_experiment("top_k", {**root, "data.home": str(tmp_path / "home")}, tmp_path))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_ones_need_nothing(name: str) -> None:
    check_inputs(_experiment(name))
    assert not any(step.settings.get("home") for step in _steps(name))


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("synthetic_label_fraction", {"finetune": 24, "evaluate": 24}),
        ("synthetic_top_k", {"pretrain": 9, "finetune": 9, "evaluate": 9}),
        ("synthetic_weights", {"pretrain": 15, "finetune": 15, "evaluate": 15}),
        ("synthetic_embedding_dimension", {"index": 3, "pretrain": 9, "finetune": 9, "evaluate": 9}),
        (
            "synthetic_pretraining_size",
            {"pool": 2, "index": 2, "pretrain": 18, "finetune": 18, "evaluate": 18},
        ),
    ],
)
def test_ablations_go_on_from_synthetic_main(name: str, left: dict[Kind, int]) -> None:
    assert _missing(name, after="synthetic_main") == left


def test_ablations_go_on_from_main() -> None:
    assert _missing("label_fraction", after="main") == {"finetune": 75, "evaluate": 75}
    left = {"pool": 4, "index": 4, "pretrain": 36, "finetune": 36, "evaluate": 36}
    assert _missing("pretraining_size", after="main") == left
    once = {"index": 5, "pretrain": 15, "finetune": 15, "evaluate": 15}
    assert _missing("embedding_dimension", after="top_k") == once  # the nearest of 14 is in both

"""From an experiment to steps: which runs share steps, and which settings make another step.

Keys are promises: an experiment that was done must not be done again by a later handsim.
"""

import hashlib
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import yaml

from handsim.errors import HandsimError
from handsim.lists import HandLists
from tests.training.experiments.builders import (
    CONTENT,
    SHORT,
    Content,
    changed,
    experiment_of,
    keys_of,
    nested,
    runs_of,
    steps_of,
)
from training.datasets.synthetic import WORLDS, split_of_people
from training.experiments.config import AXES, EXPERIMENTS, Experiment, check_inputs, read_experiment
from training.experiments.plan import Run, expand, merge_settings
from training.experiments.steps import Kind, Step, in_order
from training.finetune.config import RECIPES as FINETUNE_RECIPES
from training.pretrain.config import RECIPES as PRETRAIN_RECIPES
from training.runs.recipes import as_mapping

pytestmark = pytest.mark.slow

ALL: tuple[Kind, ...] = ("pool", "index", "dataset", "pretrain", "finetune", "evaluate")
TRAINED: tuple[Kind, ...] = ("pretrain", "finetune", "evaluate")
Keys = dict[Kind, set[str]]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return keys_of(CONTENT)


@pytest.fixture(scope="module")
def short_keys() -> Keys:
    return keys_of(SHORT)


def _run(runs: list[Run], method: str, seed: int = 1) -> Run:
    return next(run for run in runs if (run.point.method, run.seed) == (method, seed))


def _trunk(run: Run) -> Step:
    return run.evaluation.inputs["finetune"].inputs["init"]


def test_equal_steps_are_counted_once() -> None:
    """Two seeds, four methods: the pool, its index and the dataset are made once, the start once a seed."""
    counts = Counter(step.kind for step in steps_of(CONTENT))
    assert counts == {"pool": 1, "index": 1, "dataset": 1, "pretrain": 2 * 3, "finetune": 8, "evaluate": 8}


def test_runs_of_a_seed_share_pool_index_and_start() -> None:
    runs = runs_of(CONTENT)
    assert [(run.point.method, run.seed) for run in runs] == [
        (method, seed) for seed in (1, 2) for method in ("scratch", "start", "peclr", "simhand")
    ]
    assert "init" not in _run(runs, "scratch").evaluation.inputs["finetune"].inputs
    start = _trunk(_run(runs, "start"))
    assert {*start.inputs} == {"pool"}
    simhand, peclr = _trunk(_run(runs, "simhand")), _trunk(_run(runs, "peclr"))
    assert {*simhand.inputs} == {"pool", "index", "init"}
    assert {*peclr.inputs} == {"pool", "init"}
    assert simhand.inputs["init"].key == peclr.inputs["init"].key == start.key
    assert (
        simhand.inputs["index"].inputs["pool"].key == simhand.inputs["pool"].key == start.inputs["pool"].key
    )
    other = _trunk(_run(runs, "start", seed=2))
    assert other.key != start.key
    assert (other.seed, other.recipe["seed"], other.settings["config"]["seed"]) == (2, 2, 2)


def test_equal_settings_have_equal_keys(keys: Keys) -> None:
    """However they are written, and whatever things are called."""
    pools, datasets = CONTENT["data"]["pools"], CONTENT["data"]["datasets"]
    methods = CONTENT["axes"]["methods"]
    renamed = {
        **CONTENT,
        "title": "Other names",
        "data": {"pools": {"w": pools["wild"]}, "datasets": {"s": datasets["studio"]}},
        "axes": {"methods": {f"my_{name}": methods[name] for name in reversed(methods)}, "seeds": [2, 1]},
    }
    assert keys_of(renamed) == keys
    assert keys_of(changed(nested("axes.methods.simhand.settings.loss.temperature", 0.5))) == keys


def test_settings_without_effect_change_no_key(keys: Keys) -> None:
    """What is written meanwhile, and how many processes decode pictures."""
    every = {"metrics_every_steps": 7, "figures_every_steps": 8, "checkpoint_every_steps": 9}
    log = {**every, "tensorboard": True}
    settings = {"log": log, "trainer": {"workers": 3}}
    content = changed({"base": {"pretrain": settings, "finetune": settings}})
    assert keys_of(content) == keys
    for step in steps_of(content):
        if step.kind in ("pretrain", "finetune"):  # but it reaches the command
            assert (step.recipe["log"], step.recipe["trainer"]["workers"]) == (log, 3)


def test_settings_that_came_later_change_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pre-training alone, in a group inside a section, and of a synthetic world."""
    later = {
        ("loss", "temperature"): 0.5,
        ("loss", "weighting", "form"): "linear",
        ("motion", "left_share"): 0.5,
    }
    monkeypatch.setattr("training.experiments.plan._LATER_DEFAULTS", later)
    trained = {step.kind: step for step in steps_of(SHORT)}
    loss = trained["pretrain"].settings["config"]["loss"]
    assert trained["pretrain"].recipe["loss"]["temperature"] == 0.5
    assert "temperature" not in loss
    assert "form" not in loss["weighting"]
    assert "left_share" not in trained["pool"].settings["world"]["motion"]


@pytest.mark.parametrize(
    ("setting", "value", "others"),
    [
        ("data.pools.wild.settings.seed", 5, ("pool", "index", *TRAINED)),
        ("data.pools.wild.keypoint_noise", 0.1, ("pool", "index", *TRAINED)),
        ("data.datasets.studio.settings.scene.passing_share", 0.5, ("dataset", "finetune", "evaluate")),
        ("data.datasets.studio.finetune.optimizer.lr", 2e-3, ("finetune", "evaluate")),
        ("data.datasets.studio.split", "val", ("evaluate",)),
        ("base.components", 8, ("index", *TRAINED)),
        ("base.pretrain.optimizer.lr", 2e-4, TRAINED),
        ("base.pretrain.trainer.precision", "bf16-mixed", TRAINED),
        ("base.pretrain.trainer.devices", 2, TRAINED),
        ("base.pretrain.loss.temperature", 0.1, TRAINED),
        ("base.pretrain.augmentation.size_px", 64, TRAINED),
        ("base.finetune.trainer.freeze_trunk", 1, ("finetune", "evaluate")),
        ("base.finetune.data.crop_factor", 2.0, ("finetune", "evaluate")),
        ("start.settings.loss.temperature", 0.1, TRAINED),
        ("start.recipe", "simclr_w", TRAINED),
        ("axes.methods.simhand.settings.pairs.ef", 99, TRAINED),
        ("axes.methods.simhand.embedding.up_to_turn", True, ("index", *TRAINED)),
        ("axes.methods.simhand.settings.pairs", {"depth": True, "up_to_turn": True}, ("index", *TRAINED)),
        ("axes.methods.simhand.embedding.normalisation", "none", ("index", *TRAINED)),
        ("axes.label_fractions", {0.5: {}}, ("finetune", "evaluate")),
        ("axes.seeds", [3], TRAINED),
    ],
)
def test_any_other_setting_makes_another_step(
    short_keys: Keys, setting: str, value: object, others: tuple[Kind, ...]
) -> None:
    """And another one of what comes after it, and of nothing else."""
    after = keys_of(merge_settings(SHORT, nested(setting, value)))
    assert {kind for kind in ALL if short_keys[kind] != after[kind]} == {*others}


def test_a_change_reaches_only_the_runs_that_use_it() -> None:
    """A start that changes leaves those runs as they were that do not begin with it."""
    before = runs_of(SHORT)
    after = runs_of(merge_settings(SHORT, nested("start.settings.loss.temperature", 0.1)))
    for old, new in zip(before, after, strict=True):
        assert (old.evaluation.key == new.evaluation.key) == (old.point.method == "scratch")


def _axis(content: Content) -> dict[str, set[str]]:
    """Keys of evaluations by method."""
    found: dict[str, set[str]] = {}
    for run in runs_of(content):
        found.setdefault(run.point.method, set()).add(run.evaluation.key)
    return found


def test_an_axis_multiplies_only_the_methods_that_use_it() -> None:
    """Top-K and components are the index's, weights pre-training's, pools pre-training's: the rest shares."""
    one_seed = nested("axes.seeds", [1])

    def count(*changes: Content) -> list[int]:
        return [len(keys) for keys in _axis(changed(one_seed, *changes)).values()]

    assert count() == [1, 1, 1, 1]
    assert count(nested("axes.top_k", [1, 3, 5])) == [1, 1, 1, 3]
    assert count(nested("axes.components", [2, 14])) == [1, 1, 1, 2]
    weightings = {"off": {"pairs": "none"}, "on": {"pairs": "both"}}
    assert count(nested("axes.weightings", weightings)) == [1, 1, 2, 2]
    # All start on the first pool.
    assert count(nested("data.pools.more", {"world": "in_the_wild"})) == [1, 1, 2, 2]
    assert count(nested("axes.label_fractions", {0.5: {}, 1.0: {}})) == [2, 2, 2, 2]
    assert count(nested("axes.top_k", [1, 3]), nested("axes.components", [2, 14])) == [1, 1, 1, 4]


def test_an_added_axis_keeps_the_steps_of_its_first_value() -> None:
    """Here it is what the recipe says anyway."""
    assert _axis(SHORT)["simhand"] < _axis(merge_settings(SHORT, nested("axes.top_k", [1, 2])))["simhand"]


def test_values_on_the_axes_reach_the_configurations() -> None:
    content = changed(
        nested("axes.top_k", [4]),
        nested("axes.weightings", {"steep": {"pairs": "positives", "form": "sigmoid"}}),
        nested("axes.components", [5]),
        nested("axes.label_fractions", {0.25: {"trainer": {"epochs": 9}}}),
        nested("start.settings.loss.temperature", 0.2),
    )
    run = _run(runs_of(content), "simhand")
    finetune, trunk = run.evaluation.inputs["finetune"], _trunk(run)
    assert trunk.recipe["pairs"]["policy"]["top_k"] == 4
    weighting, start = trunk.recipe["loss"]["weighting"], trunk.inputs["init"].recipe["loss"]
    assert (weighting["pairs"], weighting["form"]) == ("positives", "sigmoid")
    assert trunk.recipe["loss"]["temperature"] == 0.5
    assert (start["temperature"], start["equivariant"]) == (0.2, False)
    assert trunk.inputs["index"].settings["components"] == 5
    assert (finetune.recipe["data"]["label_fraction"], finetune.recipe["trainer"]["epochs"]) == (0.25, 9)


def test_homes_and_folders_are_identified_by_their_paths() -> None:
    """There is no step for them, and what they hold plays no part."""

    def steps(home: str, root: str) -> list[Step]:
        data = {"pools": {"h": {"home": home}}, "datasets": {"d": {"root": root}}}
        return steps_of({**CONTENT, "data": data})

    first = steps("hands", "set")
    assert {step.kind for step in first} == {"index", *TRAINED}
    assert {step.settings["home"] for step in first if step.kind == "index"} == {str(Path("hands").resolve())}
    named_otherwise = steps("./hands", f"../{Path.cwd().name}/set")
    assert [step.key for step in named_otherwise] == [step.key for step in first]

    def shared_kinds(moved: list[Step]) -> list[str]:
        known = {step.key for step in first}
        return sorted(step.kind for step in moved if step.key in known)

    assert (
        shared_kinds(steps("hands2", "set")) == ["evaluate"] * 2 + ["finetune"] * 2
    )  # from scratch, two seeds
    assert shared_kinds(steps("hands", "set2")) == ["index"] + ["pretrain"] * 6  # which has seen no dataset


def test_a_list_that_changed_is_another_training(tmp_path: Path) -> None:
    """In the order in which its hands were added it is the same one."""
    lists = HandLists(tmp_path / "lists")
    data = {**SHORT["data"], "pools": {"mine": {"home": str(tmp_path)}}}
    content = merge_settings({**SHORT, "data": data}, nested("base.pretrain.pairs.exclude_list", "left-out"))

    def keys() -> dict[Kind, set[str]]:
        return keys_of(content)

    absent = keys()
    lists.create("left-out", [3, 7])
    there = keys()
    lists.remove("left-out", [3])
    fewer = keys()
    lists.add("left-out", [3])
    assert keys() == there
    assert len({frozenset(each["pretrain"]) for each in (absent, there, fewer)}) == 3
    assert absent["index"] == there["index"] == fewer["index"]
    lists.create("of-no-run", [5])
    assert keys() == there


def test_subsets_of_a_pool_share_the_whole_pool() -> None:
    wild = CONTENT["data"]["pools"]["wild"]
    pools = {"few": {**wild, "hands": 3}, "more": {**wild, "hands": 5}, "all": wild}
    content = {**SHORT, "data": {**SHORT["data"], "pools": pools}}
    steps = [step for step in steps_of(content) if step.kind == "pool"]
    assert [(step.description, step.settings.get("hands")) for step in steps] == [
        ("for few", None),
        ("few", 3),
        ("more", 5),
    ]
    assert [{*step.inputs} for step in steps] == [set(), {"pool"}, {"pool"}]
    assert {step.key for step in steps_of(SHORT) if step.kind == "pool"} == {steps[0].key}
    data = {**SHORT["data"], "home": "hands", "pools": {"few": {"hands": 3}, "other": {"home": "o"}}}
    found = steps_of({**SHORT, "data": data})
    (few,) = (step for step in found if step.kind == "pool")
    assert (few.settings, few.inputs) == ({"home": str(Path("hands").resolve()), "hands": 3}, {})
    homes = {step.settings["home"] for step in found if step.kind == "index" and not step.inputs}
    assert homes == {str(Path("o").resolve())}


def test_existing_weights_are_not_a_step() -> None:
    axes = {"methods": {"imagenet": {"init": "resnet18"}, "ours": {"init": "a.ckpt"}}}
    imagenet = {**CONTENT, "axes": axes}
    by_method = {run.point.method: run.evaluation.inputs["finetune"] for run in runs_of(imagenet)}
    assert by_method["imagenet"].recipe["encoder"]["init"] == "resnet18"
    assert by_method["ours"].recipe["encoder"]["init"].endswith("/a.ckpt")
    assert not any("init" in step.inputs for step in by_method.values())


def test_points_are_the_product_of_the_axes() -> None:
    experiment = experiment_of(
        changed(nested("axes.top_k", [1, 10]), nested("axes.label_fractions", {0.1: {}}))
    )
    assert len(experiment.points()) == 4 * 2
    labels = {axis: experiment.labels(axis) for axis in AXES}
    assert labels == {
        "method": ["scratch", "start", "peclr", "simhand"],
        "dataset": ["studio"],
        "pool": ["wild"],
        "top_k": ["1", "10"],
        "weighting": ["as it is"],
        "components": ["as it is"],
        "label_fraction": ["0.1"],
    }


def test_in_order_has_inputs_first_and_equal_steps_once() -> None:
    a, b = Step("pool", "a", {"n": 1}), Step("pool", "b", {"n": 2})
    same_as_a = Step("pool", "called otherwise", {"n": 1}, recipe={"log": 3}, seed=4)
    assert a.key == same_as_a.key
    assert a.name == f"pool-{a.key}"
    assert len(a.key) == 16
    first = Step("index", "", {}, {"pool": a})
    second = Step("pretrain", "", {}, {"index": first, "pool": same_as_a, "other": b})
    assert in_order([second, b, first]) == [first.inputs["pool"], first, b, second]
    assert in_order([]) == []
    assert Step("index", "", {}, {"pool": b}).key != first.key
    assert Step("index", "", {}, {"other": a}).key != first.key
    assert Step("pool", "", {}, {"pool": a}).key != first.key


KEYS = {
    "embedding_dimension": "43aef664830a2a0e",
    "label_fraction": "5ab4efe21443e833",
    "main": "3dd3f4fdb0801c70",
    "pretraining_size": "0a0280c5e1880d49",
    "synthetic_embedding_dimension": "27326cde295a5170",
    "synthetic_label_fraction": "1c97355cc3155e6f",
    "synthetic_main": "af163f1d291947da",
    "synthetic_main_gpu": "e138c27e568baa02",
    "synthetic_negatives": "cb3f809b17df4bfc",
    "synthetic_pretraining_size": "bef3a8732a02cf65",
    "synthetic_tiny": "882eac3295b42a7b",
    "synthetic_top_k": "9592c40c3c8bcbf9",
    "synthetic_weights": "c3e219aab9e5e1db",
    "top_k": "fe8b51424ad7ef8e",
    "weights": "e61e3cd358a296d9",
}
"""Digests of the names of all steps, since handsim has experiments. If one differs, users' steps are done
again: find the setting that changed, and leave it out of the key or keep its old form."""
SYNTHETIC = [name for name in KEYS if name.startswith("synthetic_")]
REAL = [name for name in KEYS if name not in SYNTHETIC]
HOME = Path("/somebodys/home")
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


def test_the_documentation_lists_the_shipped_experiments() -> None:
    assert EXPERIMENTS.shipped() == sorted(KEYS)
    assert {name for name in KEYS if f"| `{name}` |" in PAGE} == {*KEYS}


def test_the_example_in_the_documentation_has_every_kind_of_step() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    content = yaml.safe_load(example.group(1))
    content["axes"] |= {"seeds": [1], "label_fractions": {0.1: {}}}  # of 1,152 runs one in six
    experiment = EXPERIMENTS.fill(content, [], "the page")
    assert {step.kind for step in in_order(run.evaluation for run in expand(experiment))} == {*get_args(Kind)}


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_steps_never_change(name: str) -> None:
    names = " ".join(sorted(step.name for step in _steps(name)))
    assert hashlib.blake2b(names.encode(), digest_size=8).hexdigest() == KEYS[name]


@pytest.mark.parametrize("name", ["main", "synthetic_main"])
def test_recipes_of_its_trainings_can_be_read_back(name: str) -> None:
    """The last one of each kind, which differs most from the recipe."""
    last = {step.kind: step for step in _steps(name)}
    pretrain, finetune = last["pretrain"], last["finetune"]
    assert as_mapping(PRETRAIN_RECIPES.fill(pretrain.recipe, [], pretrain.title)) == pretrain.recipe
    assert as_mapping(FINETUNE_RECIPES.fill(finetune.recipe, [], finetune.title)) == finetune.recipe


def test_experiments_on_real_data_ask_for_their_folders() -> None:
    setting = "data.datasets.freihand.root"
    for name in REAL:
        with pytest.raises(HandsimError, match=f"{setting} is not set; give its place with --{setting} FOLD"):
            check_inputs(_experiment(name))


def test_the_pool_of_the_home_is_used_unless_the_file_names_another(tmp_path: Path) -> None:
    (tmp_path / "home" / "pool").mkdir(parents=True)
    root = {"data.datasets.freihand.root": str(tmp_path)}
    check_inputs(read_experiment("top_k", root, tmp_path / "home"))
    with pytest.raises(HandsimError, match=r"data\.home is .*, which has no folder pool; give another one,"):
        check_inputs(read_experiment("top_k", root, tmp_path))
    check_inputs(read_experiment("top_k", {**root, "data.home": str(tmp_path / "home")}, tmp_path))


def test_synthetic_experiments_need_no_data() -> None:
    for name in SYNTHETIC:
        check_inputs(_experiment(name))
        assert not any(step.settings.get("home") for step in _steps(name))


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("synthetic_label_fraction", {"finetune": 9, "evaluate": 9}),
        ("synthetic_top_k", {"pretrain": 9, "finetune": 9, "evaluate": 9}),
        ("synthetic_weights", {"pretrain": 15, "finetune": 15, "evaluate": 15}),
        ("synthetic_negatives", {"pretrain": 54, "finetune": 54, "evaluate": 54}),
        ("synthetic_embedding_dimension", {"index": 3, "pretrain": 9, "finetune": 9, "evaluate": 9}),
        ("synthetic_pretraining_size", {"pool": 2, "index": 2, **dict.fromkeys(TRAINED, 12)}),
    ],
)
def test_ablations_go_on_from_synthetic_main(name: str, left: dict[Kind, int]) -> None:
    assert _missing(name, after="synthetic_main") == left


@pytest.mark.parametrize("name", KEYS)
def test_no_training_is_cut_before_its_learning_rate_has_fallen(name: str) -> None:
    trainings = [step for step in _steps(name) if step.kind in ("pretrain", "finetune")]
    assert [step.recipe["trainer"]["max_steps"] for step in trainings] == [None] * len(trainings)


def test_all_methods_of_synthetic_main_are_pre_trained_from_nothing_and_equally_long() -> None:
    """None begins with what another one has learned."""
    trunks = [step for step in _steps("synthetic_main") if step.kind == "pretrain"]
    methods = _experiment("synthetic_main").axes.methods.values()
    assert len(trunks) == 3 * sum(method.recipe is not None for method in methods)
    assert all("init" not in step.inputs and step.recipe["encoder"]["init"] is None for step in trunks)
    assert {step.recipe["trainer"]["steps"] for step in trunks} == {3000}


def test_synthetic_main_does_all_of_one_seed_before_the_next() -> None:
    seeds = [step.seed for step in _steps("synthetic_main") if step.seed is not None]
    assert seeds == sorted(seeds)


def test_synthetic_main_is_tested_on_sixty_people_who_are_not_trained_on() -> None:
    (dataset,) = (step for step in _steps("synthetic_main") if step.kind == "dataset")
    splits = split_of_people(WORLDS.fill(dataset.recipe, [], dataset.title))
    assert [int((splits == place).sum()) for place in range(3)] == [280, 60, 60]


def test_a_method_can_be_fine_tuned_in_its_own_way() -> None:
    """After all other changes; those that its pre-training shares stay."""
    own = {"finetune": {"trainer": {"trunk_lr_factor": 0.5}}}
    runs = runs_of(
        changed(nested("base.finetune.trainer.trunk_lr_factor", 0.1), nested("axes.methods.peclr", own))
    )
    factors = {
        run.point.method: run.evaluation.inputs["finetune"].recipe["trainer"]["trunk_lr_factor"]
        for run in runs
    }
    assert factors == {"scratch": 0.1, "start": 0.1, "peclr": 0.5, "simhand": 0.1}


def test_ablations_go_on_from_main() -> None:
    assert _missing("label_fraction", after="main") == {"finetune": 75, "evaluate": 75}
    left = {"pool": 4, "index": 4, "pretrain": 36, "finetune": 36, "evaluate": 36}
    assert _missing("pretraining_size", after="main") == left
    once = {"index": 5, "pretrain": 15, "finetune": 15, "evaluate": 15}
    assert _missing("embedding_dimension", after="top_k") == once  # the nearest of 14 is in both

"""What is run for a step, and what is laid ready in its folder for it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.training.experiments.contents import SHORT, Content, nested, runs_of
from training.experiments.plan import merge_settings
from training.experiments.run import prepare, remove_unused_checkpoint
from training.experiments.steps import Step, StepStore
from training.finetune.config import RECIPES as FINETUNE_RECIPES
from training.pretrain.config import RECIPES as PRETRAIN_RECIPES


@pytest.fixture
def store(tmp_path: Path) -> StepStore:
    return StepStore(tmp_path / "steps")


def _simhand(content: Content) -> dict[str, Step]:
    """The steps of the run of SiMHand."""
    evaluate = runs_of(content)[1].evaluation
    finetune = evaluate.inputs["finetune"]
    pretrain = finetune.inputs["init"]
    return {
        "evaluate": evaluate,
        "finetune": finetune,
        "pretrain": pretrain,
        **pretrain.inputs,
        **finetune.inputs,
    }


def _prepared(step: Step, store: StepStore) -> tuple[Path, list[list[str]]]:
    home = store.folder(step).path
    home.mkdir(parents=True, exist_ok=True)
    return home, prepare(step, store)


def _read(path: str) -> Any:
    return yaml.safe_load(Path(path).read_text())


def test_pool_and_dataset_are_filmed(store: StepStore) -> None:
    steps = _simhand(merge_settings(SHORT, nested("data.pools.wild.keypoint_noise", 0.03)))
    home, (command,) = _prepared(steps["pool"], store)
    assert command == [
        "synth",
        "--world",
        str(home / "world.yaml"),
        "--keypoint-noise",
        "0.03",
        "--home",
        str(home),
    ]
    world = _read(command[2])
    assert (world["videos"], world["scene"]["passing_share"]) == (4, 0.35)
    home, (command,) = _prepared(steps["dataset"], store)
    assert command[3:] == ["--layout", "synthetic", "--out", str(home / "set")]
    (home / "set").mkdir()
    _prepared(steps["dataset"], store)
    assert not (home / "set").exists()  # of what is half written nothing is kept


def test_a_pool_in_part_is_taken_of_another_step_or_of_a_home(store: StepStore) -> None:
    part = _simhand(merge_settings(SHORT, nested("data.pools.wild.hands", 5)))["pool"]
    home, (command,) = _prepared(part, store)
    whole = store.folder(part.inputs["pool"]).path
    assert command == ["pool", "subset", "5", "--to", str(home), "--home", str(whole)]
    (home / "pool").mkdir()
    _prepared(part, store)
    assert not (home / "pool").exists()
    content = {**SHORT, "data": {**SHORT["data"], "home": "hands", "pools": {"wild": {"hands": 5}}}}
    _, (command,) = _prepared(_simhand(content)["pool"], store)
    assert command[-1] == str(Path("hands").resolve())


def test_an_index_is_fitted_and_built_anew(store: StepStore) -> None:
    steps = _simhand(merge_settings(SHORT, nested("axes.components", [5])))
    home, commands = _prepared(steps["index"], store)
    fit = ["embedding", "fit", "--components", "5", "--normalisation", "centre-scale", "--home", str(home)]
    assert commands == [fit, ["index", "build", "--home", str(home)]]
    pool = store.folder(steps["pool"]).path / "pool"
    assert (home / "pool").readlink() == pool
    (home / "index").mkdir()
    (home / "embedding.json").touch()
    _prepared(steps["index"], store)
    assert [path.name for path in home.iterdir()] == ["pool"]


def test_a_home_is_shown_as_the_step_s_own(store: StepStore) -> None:
    content = {**SHORT, "data": {"pools": {"mine": {"home": "hands"}}, "datasets": {"d": {"root": "set"}}}}
    evaluate = runs_of(content)[1].evaluation
    pretrain = evaluate.inputs["finetune"].inputs["init"]
    home, _ = _prepared(pretrain, store)
    assert (home / "pool").readlink() == Path("hands/pool").resolve()
    recipe = _read(_prepared(evaluate.inputs["finetune"], store)[1][0][1])
    assert recipe["data"]["root"] == str(Path("set").resolve())


def test_trainings_are_given_their_inputs(store: StepStore) -> None:
    steps = _simhand(SHORT)
    home, (command,) = _prepared(steps["pretrain"], store)
    index = store.folder(steps["index"]).path / "index"
    recipe = str(home / "recipe.yaml")
    assert command == ["pretrain", recipe, "--name", "run", "--home", str(home), "--index", str(index)]
    start = store.folder(steps["pretrain"].inputs["init"]).path / "runs/run/checkpoints/last.ckpt"
    assert PRETRAIN_RECIPES.read(recipe).encoder.init == str(start)
    assert "--index" not in _prepared(steps["pretrain"].inputs["init"], store)[1][0]  # SimCLR asks none

    home, (command,) = _prepared(steps["finetune"], store)
    assert command == ["finetune", str(home / "recipe.yaml"), "--name", "run", "--home", str(home)]
    config = FINETUNE_RECIPES.read(home / "recipe.yaml")
    assert config.encoder.init == str(store.folder(steps["pretrain"]).path / "runs/run/checkpoints/last.ckpt")
    assert config.data.root == str(store.folder(steps["dataset"]).path / "set")
    assert config.seed == 1


def test_a_training_with_a_checkpoint_goes_on(store: StepStore) -> None:
    """Others begin again, in an empty folder."""
    steps = _simhand(SHORT)
    for kind in ("pretrain", "finetune"):
        home, _ = _prepared(steps[kind], store)
        checkpoints = home / "runs/run/checkpoints"
        checkpoints.mkdir(parents=True)
        (home / "runs/run-2").mkdir()
        _, (command,) = _prepared(steps[kind], store)
        assert command[1] == str(home / "recipe.yaml")
        assert not (home / "runs").exists()
        checkpoints.mkdir(parents=True)
        (checkpoints / "last.ckpt").touch()
        _, (command,) = _prepared(steps[kind], store)
        assert command[:5] == [kind, "run", "--resume", "--home", str(home)]
        assert ("--index" in command) == (kind == "pretrain")


def test_the_best_checkpoint_is_evaluated(store: StepStore) -> None:
    for split in (None, "val"):
        steps = _simhand(merge_settings(SHORT, nested("data.datasets.studio.split", split)))
        home, (command,) = _prepared(steps["evaluate"], store)
        best = store.folder(steps["finetune"]).path / "runs/run/checkpoints/best.ckpt"
        words = [] if split is None else ["--split", split]
        assert command == ["evaluate", "pose", str(best), "--name", "run", *words, "--home", str(home)]
        assert store.folder(steps["evaluate"]).report == home / "runs/run/pose.json"


def test_of_a_training_that_is_done_one_checkpoint_is_kept(store: StepStore) -> None:
    steps = _simhand(SHORT)
    for kind, kept in (("pretrain", "last.ckpt"), ("finetune", "best.ckpt")):
        checkpoints = store.folder(steps[kind]).path / "runs/run/checkpoints"
        checkpoints.mkdir(parents=True)
        other = ({"last.ckpt", "best.ckpt"} - {kept}).pop()
        (checkpoints / other).touch()
        remove_unused_checkpoint(steps[kind], store)
        assert [path.name for path in checkpoints.iterdir()] == [other]  # better than none
        (checkpoints / kept).touch()
        remove_unused_checkpoint(steps[kind], store)
        assert [path.name for path in checkpoints.iterdir()] == [kept]
    remove_unused_checkpoint(steps["pool"], store)

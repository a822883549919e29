"""Every recipe that comes with handsim can be read, and says what its method is."""

from pathlib import Path

import pytest
import yaml

from handsim.errors import HandsimError, NotThereError
from training.pretrain.config import RECIPES, PretrainConfig
from training.runs.recipes import as_mapping, as_yaml

PAPERS = ["peclr", "peclr_w", "simclr", "simclr_w", "simhand", "simhand_no_weights", "tempclr"]


def test_all_methods_are_shipped() -> None:
    assert set(RECIPES.shipped()) >= {*PAPERS, "cpu_small"}


@pytest.mark.parametrize("name", RECIPES.shipped())
def test_recipe_is_read_and_written_back(name: str) -> None:
    config = RECIPES.read(name)
    again = RECIPES.fill(yaml.safe_load(as_yaml(config)), [], "again")
    assert again == config
    assert as_mapping(again) == as_mapping(config)


@pytest.mark.parametrize(
    ("name", "positives", "equivariant", "weighted"),
    [
        ("simclr", "own", False, "none"),
        ("simclr_w", "own", False, "both"),
        ("peclr", "own", True, "none"),
        ("peclr_w", "own", True, "both"),
        ("tempclr", "temporal", True, "none"),
        ("simhand", "neighbours", True, "both"),
        ("simhand_no_weights", "neighbours", True, "none"),
        ("cpu_small", "neighbours", True, "both"),
    ],
)
def test_recipe_is_its_method(name: str, positives: str, equivariant: bool, weighted: str) -> None:
    config = RECIPES.read(name)
    assert config.pairs.positives == positives
    assert config.loss.equivariant is equivariant
    assert config.loss.weighting.pairs == weighted
    assert config.feedback.every_epochs == 0


@pytest.mark.parametrize("name", PAPERS)
def test_papers_settings(name: str) -> None:
    """The papers' training differs between methods in nothing but the method."""
    config = RECIPES.read(name)
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.scale) == ("lars", 1e-4, "sqrt")
    assert (config.optimizer.weight_decay, config.optimizer.warmup_epochs) == (1e-6, 10)
    assert (config.trainer.epochs, config.loss.temperature) == (100, 0.5)
    assert (config.augmentation.size_px, config.head.hidden, config.head.out) == (128, 512, 128)


def test_command_line_comes_after_the_recipe() -> None:
    config = RECIPES.read(
        "simhand", ["--optimizer.lr", "1e-3", "--pairs.policy.top_k=3", "--trainer.devices=2"]
    )
    assert (config.optimizer.lr, config.pairs.policy.top_k, config.trainer.devices) == (1e-3, 3, 2)
    assert config.pairs.policy.other_video
    assert config.trainer.batch_size == 1024


def test_an_empty_recipe_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("")
    assert RECIPES.read(tmp_path / "none.yaml") == PretrainConfig()


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(NotThereError, match=r"no recipe simhnd; did you mean simhand\?"):
        RECIPES.read("simhnd")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optimizer: {learning_rate: 1}", r"no setting optimizer\.learning_rate"),
        ("optimiser: {lr: 1}", r"no setting optimiser"),
        ("optimizer: {lrs: 1}", r"no setting optimizer\.lrs; did you mean optimizer\.lr\?"),
        ("pairs: {policy: {topk: 1}}", r"pairs\.policy\.topk; did you mean pairs\.policy\.top_k\?"),
        ("lr: 1", r"no setting lr; did you mean optimizer\.lr\?"),
        ("pairs: own", r"pairs is a group"),
        ("7: 1", r"no setting 7"),
        ("trainer: {epochs: many}", r"epochs"),
        ("trainer: {epochs: 1.5}", r"epochs"),
        ("trainer: {epochs: 0}", r"trainer\.epochs is 0"),
        ("trainer: {batch_size: 1}", r"trainer\.batch_size is 1"),
        ("trainer: {precision: fp8}", r"precision"),
        ("head: {out: 3}", r"head\.out is 3"),
        ("loss: {temperature: 0}", r"loss\.temperature is 0"),
        ("encoder: {architecture: vgg16}", r"architecture"),
        ("log: {metrics_every_steps: 0}", r"log\.metrics_every_steps is 0"),
        ("- 1", r"holds a list"),
        ("a: [", r"cannot be read as YAML"),
    ],
)
def test_bad_recipe_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(HandsimError, match=said) as caught:
        RECIPES.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "--optimizer.lrr=1",
            r"command line: there is no setting optimizer\.lrr; did you mean optimizer\.lr\?",
        ),
        ("--optimizer=adamw", r"optimizer is a group"),
        ("--trainer.epochs=soon", r"epochs"),
        ("extra", r"extra"),
        ("--trainer.epochs", r"epochs"),
    ],
)
def test_bad_override_is_told_in_one_line(word: str, said: str) -> None:
    with pytest.raises(HandsimError, match=said) as caught:
        RECIPES.read("cpu_small", [word])
    assert "\n" not in str(caught.value)

"""Every recipe of fine-tuning that comes with handsim can be read, and bad settings are told in a line."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from handsim.errors import HandsimError
from training.datasets.open_dataset import known_splits
from training.finetune.config import RECIPES, finetuning_views
from training.runs.recipes import as_mapping, as_yaml


def test_all_datasets_have_one() -> None:
    assert RECIPES.shipped() == ["assemblyhands", "dexycb", "freihand", "synthetic"]


@pytest.mark.parametrize("name", RECIPES.shipped())
def test_recipe_is_read_and_written_back(name: str) -> None:
    config = RECIPES.read(name)
    assert config.data.dataset == name
    assert {config.data.train_split, config.data.val_split} <= set(known_splits(name))
    again = RECIPES.fill(yaml.safe_load(as_yaml(config)), [], "again")
    assert again == config
    assert as_mapping(again) == as_mapping(config)


def test_views_keep_their_defaults_where_a_recipe_says_less() -> None:
    assert RECIPES.read("freihand").augmentation == finetuning_views()
    assert RECIPES.read("synthetic").augmentation == replace(finetuning_views(), size_px=64)


def test_command_line_comes_after_the_recipe() -> None:
    words = ["--trainer.freeze_trunk=3", "--data.label_fraction", "0.2", "--augmentation.jitter_px=[0, 1]"]
    config = RECIPES.read("synthetic", words)
    assert (config.trainer.freeze_trunk, config.data.label_fraction) == (3, 0.2)
    assert config.augmentation.jitter_px == (0, 1)
    assert [config.trainer.freezes(epoch) for epoch in (0, 2, 3)] == [True, True, False]
    assert RECIPES.read("synthetic", ["--trainer.freeze_trunk=always"]).trainer.freezes(99)
    assert not RECIPES.read("synthetic").trainer.freezes(0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {label_fraction: 0}", r"data\.label_fraction is 0"),
        ("data: {label_fraction: 2}", r"data\.label_fraction is 2"),
        ("data: {fraction: 1}", r"no setting data\.fraction; did you mean data\.label_fraction\?"),
        ("data: {crop_factor: 0.5}", r"data\.crop_factor is 0\.5; it goes from 1 to 10"),
        ("data: {training_crop_px: 4}", r"data\.training_crop_px is 4; it is at least 8"),
        ("trainer: {freeze_trunk: -1}", r"trainer\.freeze_trunk is -1"),
        ("trainer: {freeze_trunk: sometimes}", r"freeze_trunk"),
        ("trainer: {batch_size: 0}", r"trainer\.batch_size is 0"),
        ("augmentation: {size_px: 100}", r"augmentation\.size_px is 100; .* a multiple of 32"),
        ("estimator: {head: mesh}", r"head"),
        ("encoder: {architecture: vgg16}", r"architecture"),
        ("pairs: {positives: own}", r"no setting pairs"),
    ],
)
def test_bad_recipe_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(HandsimError, match=said) as caught:
        RECIPES.read(path)
    assert "\n" not in str(caught.value)

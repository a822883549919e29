"""Every recipe that comes with handsim can be read; bad settings are refused in one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from handsim.errors import HandsimError, NotThereError
from training.augmentation import AugmentationSettings
from training.datasets.open_dataset import known_splits
from training.finetune.config import RECIPES as FINETUNE
from training.finetune.config import FinetuneTrainerSettings, finetuning_views
from training.losses import Weighting
from training.pretrain.config import RECIPES as PRETRAIN
from training.pretrain.config import LossSettings, PretrainConfig
from training.runs.recipes import Recipes, as_mapping, as_yaml

PAPERS = ["peclr", "peclr_w", "simclr", "simclr_w", "simhand", "simhand_no_weights", "tempclr"]
PECLR_VIEWS = ["simclr_peclr_views", "simclr_w_peclr_views"]
DATASETS = [
    "assemblyhands",
    "dexycb",
    "freihand",
    "freihand_published",
    "generic",
    "ho3d",
    "interhand",
    "synthetic",
]


def test_all_methods_and_datasets_have_a_recipe() -> None:
    assert set(PRETRAIN.shipped()) >= {*PAPERS, *PECLR_VIEWS, "cpu_small"}
    assert FINETUNE.shipped() == DATASETS


@pytest.mark.parametrize(
    ("recipes", "name"),
    [(recipes, name) for recipes in (PRETRAIN, FINETUNE) for name in recipes.shipped()],
    ids=lambda value: value if isinstance(value, str) else value.command.split()[-1],
)
def test_a_recipe_is_read_and_written_back(recipes: Recipes[Any], name: str) -> None:
    config = recipes.read(name)
    again = recipes.fill(yaml.safe_load(as_yaml(config)), [], "again")
    assert again == config
    assert as_mapping(again) == as_mapping(config)


def test_the_papers_recipes_differ_in_pairs_and_loss_alone_and_simclr_in_its_views() -> None:
    names = [name for name in PAPERS if not name.startswith("simclr")] + PECLR_VIEWS
    same = [replace(PRETRAIN.read(name), pairs=PretrainConfig().pairs, loss=LossSettings()) for name in names]
    assert all(config == same[0] for config in same)
    assert same[0].augmentation == AugmentationSettings()
    for name in ("simclr", "simclr_w"):  # SiMHand's command: colours, crop and resize
        published, turned = PRETRAIN.read(name), PRETRAIN.read(f"{name}_peclr_views")
        views = replace(turned.augmentation, rotation_deg=0.0, margin=(1.25, 1.25))
        assert published == replace(turned, augmentation=views)
    for name in ("simclr", "peclr"):
        plain, weighted = PRETRAIN.read(name), PRETRAIN.read(f"{name}_w")
        assert plain == replace(weighted, loss=replace(weighted.loss, weighting=Weighting("none")))


def test_the_papers_recipes_train_as_the_published_code() -> None:
    for name in PAPERS:
        config = PRETRAIN.read(name)
        assert (config.optimizer.scale, config.optimizer.lars_variant) == ("published", "published")
        assert config.loss.negatives == "own_process"
        assert config.augmentation.extent == "radius"


def test_fine_tuning_recipes_name_splits_of_their_datasets() -> None:
    for name in DATASETS:
        data = FINETUNE.read(name).data
        assert data.dataset == name.removesuffix("_published")
        assert {data.train_split, data.val_split} <= set(known_splits(data.dataset))


def test_the_command_line_overrides_the_recipe_and_the_rest_keeps_its_defaults() -> None:
    words = ["--optimizer.lr", "1e-3", "--pairs.policy.top_k=3", "--trainer.devices=2"]
    config = PRETRAIN.read("simhand", words)
    assert (config.optimizer.lr, config.pairs.policy.top_k, config.trainer.devices) == (1e-3, 3, 2)
    assert config.pairs.policy.other_video
    assert config.trainer.batch_size == 1024
    words = ["--trainer.freeze_trunk=3", "--data.label_fraction", "0.2", "--augmentation.jitter_px=[0, 1]"]
    tuned = FINETUNE.read("synthetic", words)
    assert (tuned.trainer.freeze_trunk, tuned.data.label_fraction) == (3, 0.2)
    assert tuned.augmentation == replace(finetuning_views(), size_px=64, jitter_px=(0, 1))


@pytest.mark.parametrize(
    ("freeze", "frozen"), [(3, [True, True, False]), ("always", [True] * 3), ("never", [False] * 3)]
)
def test_the_trunk_is_frozen_in_the_epochs_that_are_set(
    freeze: int | Literal["never", "always"], frozen: list[bool]
) -> None:
    trainer = FinetuneTrainerSettings(freeze_trunk=freeze)
    assert [trainer.freezes(epoch) for epoch in (0, 2, 3)] == frozen


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(NotThereError, match=r"no recipe simhnd; did you mean simhand\?"):
        PRETRAIN.read("simhnd")


BAD_PRETRAIN = [
    ("optimizer: {lrs: 1}", r"no setting optimizer\.lrs; did you mean optimizer\.lr\?"),
    ("pairs: {policy: {topk: 1}}", r"pairs\.policy\.topk; did you mean pairs\.policy\.top_k\?"),
    ("lr: 1", r"no setting lr; did you mean optimizer\.lr\?"),
    ("pairs: own", r"pairs is a group"),
    ("7: 1", r"no setting 7"),
    ("trainer: {epochs: 1.5}", r"epochs"),
    ("trainer: {epochs: 0}", r"trainer\.epochs is 0"),
    ("trainer: {batch_size: 1}", r"trainer\.batch_size is 1"),
    ("trainer: {precision: fp8}", r"precision"),
    ("head: {out: 3}", r"head\.out is 3"),
    ("loss: {temperature: 0}", r"loss\.temperature is 0"),
    ("encoder: {architecture: vgg16}", r"architecture"),
    ("log: {metrics_every_steps: 0}", r"log\.metrics_every_steps is 0"),
    (
        "feedback: {every_epochs: 5}",
        r"feedback\.every_epochs is 5, but mining with the encoder .* was taken out",
    ),
    (
        "loss: {near: {within: 1.0}}\npairs: {positives: own}",
        r"loss\.near\.within needs the vectors of a live index, but pairs come from own",
    ),
    (
        "loss: {weighting: {pairs: both, source: embedding}}\npairs: {table: pairs.parquet}",
        r"loss\.weighting\.source needs the vectors of a live index, but pairs come from pairs\.parquet",
    ),
    ("loss: {queue: -1}", r"loss\.queue is -1; it is at least 0"),
    ("- 1", r"holds a list"),
    ("a: [", r"cannot be read as YAML"),
]
BAD_FINETUNE = [
    ("data: {label_fraction: 0}", r"data\.label_fraction is 0"),
    ("data: {label_fraction: 2}", r"data\.label_fraction is 2"),
    ("data: {fraction: 1}", r"no setting data\.fraction; did you mean data\.label_fraction\?"),
    ("data: {crop_factor: 0.5}", r"data\.crop_factor is 0\.5; it goes from 1 to 10"),
    ("data: {training_crop_px: 4}", r"data\.training_crop_px is 4; it is at least 8"),
    ("trainer: {freeze_trunk: -1}", r"trainer\.freeze_trunk is -1"),
    ("trainer: {freeze_trunk: sometimes}", r"freeze_trunk"),
    ("augmentation: {size_px: 100}", r"augmentation\.size_px is 100; .* a multiple of 32"),
    ("estimator: {head: mesh}", r"head"),
    ("pairs: {positives: own}", r"no setting pairs"),
]


@pytest.mark.parametrize(
    ("recipes", "text", "message"),
    [(PRETRAIN, *bad) for bad in BAD_PRETRAIN] + [(FINETUNE, *bad) for bad in BAD_FINETUNE],
)
def test_a_bad_recipe_is_refused_in_one_line(
    tmp_path: Path, recipes: Recipes[Any], text: str, message: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(HandsimError, match=message) as caught:
        recipes.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--optimizer.lrr=1", r"command line: .* no setting optimizer\.lrr; did you mean optimizer\.lr\?"),
        ("--optimizer=adamw", r"optimizer is a group"),
        ("extra", r"extra"),
        ("--trainer.epochs", r"epochs"),
    ],
)
def test_a_bad_override_is_refused_in_one_line(word: str, message: str) -> None:
    with pytest.raises(HandsimError, match=message) as caught:
        PRETRAIN.read("cpu_small", [word])
    assert "\n" not in str(caught.value)

"""A picture of the pairs, and what is written below each."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from handsim.drawing import Tile
from handsim.hand import format_hand_id
from tests.training.pretrain.small_runs import RECIPE, Place
from training.augmentation import AugmentationSettings, augment
from training.pairs.decoding import PairBatch
from training.pretrain.config import RECIPES
from training.pretrain.module import PretrainModule
from training.pretrain.train import draw_pairs
from training.runs import monitor as figures
from training.runs.optimizer import Schedule

PAIRS = 5


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is written below each picture that is drawn from now on."""
    found: list[tuple[str, ...]] = []

    def noted(image: object, keypoints: object, caption: tuple[str, ...]) -> object:
        found.append(caption)
        return Tile(image, keypoints, caption)  # type: ignore[arg-type]

    monkeypatch.setattr(figures, "Tile", noted)
    return found


def _batch() -> PairBatch:
    torch.manual_seed(0)
    return PairBatch(
        hand_ids=np.arange(10, 20, dtype=np.uint64),
        crops=torch.randint(0, 256, (10, 32, 32, 3), dtype=torch.uint8),
        keypoints=torch.rand(10, 21, 2),
        anchors=torch.arange(PAIRS),
        positives=torch.tensor([5, 6, 2, 8, 9]),  # the third is its own
        negatives=torch.empty(0, dtype=torch.int64),
        distances=torch.tensor([0.25, 1.5, torch.nan, torch.nan, 0.0]),
        version="v0001",
        epoch=0,
        number=0,
        without_positive=1,
        not_in_index=0,
        random_negatives=0,
    )


def _draw(batch: PairBatch, weighted: str) -> Image.Image:
    config = RECIPES.fill({**RECIPE, "loss": {"weighting": {"pairs": weighted}}}, [], "test")
    module = PretrainModule(config, Schedule(1, 1, 1, PAIRS, 1))
    random = torch.Generator().manual_seed(1)
    views = [
        augment(batch.crops[rows], batch.keypoints[rows], AugmentationSettings(size_px=32), random)
        for rows in (batch.anchors, batch.positives)
    ]
    return draw_pairs(batch, (views[0], views[1]), module)


def test_each_pair_has_its_captions(captions: list[tuple[str, ...]]) -> None:
    _draw(_batch(), "none")
    assert sorted(captions[0::2]) == [(format_hand_id(number),) for number in range(10, 15)]
    assert sorted(captions[1::2]) == sorted(
        (said,)
        for said in (
            "distance 0.250",
            "distance 1.500",
            "its own second view",
            format_hand_id(18),
            "distance 0.000",
        )
    )


def test_weights_are_told_where_there_are_any(captions: list[tuple[str, ...]]) -> None:
    _draw(_batch(), "both")
    weights = [caption[1] for caption in captions[1::2]]
    assert len(weights) == PAIRS
    assert all(weight.startswith("weight ") for weight in weights)
    numbers = [float(weight.split()[1]) for weight in weights]
    assert (min(numbers), max(numbers)) == (0.0, 1.0)  # linear ones reach from the farthest to the nearest


def test_fewer_pairs_than_a_row_and_missing_keypoints() -> None:
    batch = _batch()
    batch.keypoints[0] = torch.nan
    batch = replace(batch, anchors=batch.anchors[:1], positives=batch.positives[:1])
    assert min(_draw(batch, "none").size) > 64


def test_a_run_draws_its_first_batch_and_then_some(place: Place) -> None:
    place.train("drawn", ["--log.figures_every_steps", "2", "--trainer.max_steps", "4"])
    figures = sorted(place.folder("drawn").figures.glob("*"))
    assert [path.name for path in figures] == [f"pairs-000000{step}.png" for step in (1, 2, 4)]
    for path in figures:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert len(picture.getcolors(1 << 20) or []) > 100

"""A run that is stopped and resumed is equal to the bit to one that is not; its numbers and its pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from handsim.drawing import Tile
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from tests.training.builders import (
    assert_equal,
    assert_equal_checkpoints,
    at_step,
    interrupt,
    stop_and_resume,
    weights,
)
from tests.training.pretrain.builders import RECIPE, Place
from training.augmentation import AugmentationSettings, augment
from training.losses import Weighting
from training.losses.equivariance import undo_motion
from training.pairs.decoding import PairBatch
from training.pretrain.config import RECIPES
from training.pretrain.module import (
    PretrainModule,
    keypoints_for_weights,
    points_for_weights,
    turn_back,
    turn_deg,
)
from training.pretrain.train import draw_pairs
from training.runs import monitor
from training.runs.folder import BEST, LAST
from training.runs.settings import Schedule

pytestmark = pytest.mark.slow

ODD = ["--trainer.accumulate=2"]
"""Three batches an epoch: the second step takes the last of one epoch and the first of the next."""
ENDING_IN_HALF = [*ODD, "--trainer.epochs=1", "--trainer.precision=bf16-mixed"]
"""Its second and last step has one batch."""
QUEUED = ["--loss.queue=20", "--loss.near.within=1.5", "--loss.weighting.pairs=both"]
"""Two batches fill the queue, which the checkpoints hold."""
OTHER = ["--seed=2", "--trainer.max_steps=4", "--log.figures_every_steps=2"]


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Runs that nobody stopped."""
    place = Place.beside(world, tmp_path_factory.mktemp("whole") / "home")
    torch.set_num_threads(1)
    runs = {"plain": [], "odd": ODD, "half": ENDING_IN_HALF, "queued": QUEUED, "other": OTHER}
    for name, overrides in runs.items():
        place.train(name, overrides)
    return place


@pytest.mark.parametrize(
    ("name", "overrides", "stops", "steps"),
    [
        pytest.param("plain", [], [1, 3], 6, id="inside an epoch, and at its end"),
        pytest.param("odd", ODD, [1, 2], 3, id="accumulating, inside an epoch and in a step over two"),
        pytest.param("queued", QUEUED, [3], 6, id="with a queue"),
        pytest.param("half", ENDING_IN_HALF, [1], 2, id="in low precision, with half a step left"),
    ],
)
def test_a_resumed_run_is_equal_to_the_bit(
    whole: Place, place: Place, name: str, overrides: list[str], stops: list[int], steps: int
) -> None:
    stop_and_resume(place, stops, overrides)
    assert place.losses("cut") == whole.losses(name)
    assert [line["step"] for line in place.lines("cut")] == [*range(1, steps + 1)]
    assert_equal_checkpoints(place, whole, name)
    # Optimizer and schedule step once a step.
    last = whole.checkpoint(name)
    assert last["global_step"] == last["lr_schedulers"][0]["last_epoch"] == steps
    assert {float(state["step"]) for state in last["optimizer_states"][0]["state"].values()} == {steps}


def test_a_run_of_another_seed_differs(whole: Place) -> None:
    """Else the test above could not fail."""
    assert whole.losses("other")[0][1] != whole.losses("plain")[0][1]


def test_a_killed_run_forgets_what_came_after_its_checkpoint(whole: Place, place: Place) -> None:
    """Killed after step 5 with the checkpoint of step 4, in the middle of writing a line."""
    overrides = ["--log.checkpoint_every_steps=4"]

    def die() -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 5, die)
        with pytest.raises(MemoryError):
            place.train("cut", overrides)
    with place.folder("cut").metrics.open("a") as file:
        file.write('{"step": 6, "lo')
    assert place.checkpoint("cut")["global_step"] == 4

    assert place.train("cut", overrides, resume=True).finished
    assert place.losses("cut") == whole.losses("plain")
    assert_equal(weights(place.checkpoint("cut")), weights(whole.checkpoint("plain")))


def test_a_finished_run_has_nothing_to_resume(whole: Place) -> None:
    before = whole.folder("half").last.stat().st_mtime_ns
    outcome = whole.train("half", ENDING_IN_HALF, resume=True)
    assert (outcome.steps, outcome.finished) == (2, True)
    assert whole.folder("half").last.stat().st_mtime_ns == before


def test_a_resumed_run_compares_with_the_best_checkpoint_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the last one says: earlier versions wrote NaN there, or the error of an epoch not saved."""
    at_step(monkeypatch, 3, interrupt)
    place.train("cut")
    state = place.checkpoint("cut")["callbacks"]["Checkpoints"]
    mean = sum(line["loss"] for line in place.lines("cut")) / 3
    assert state["best"] == pytest.approx(mean, rel=1e-6)
    assert (state["losses"], state["batches"]) == (0.0, 0)
    best = place.checkpoint("cut", "best.ckpt")
    assert best["handsim"]["batches_done"] == 3

    # As if it had been impossibly good.
    last = place.checkpoint("cut")
    last["callbacks"]["Checkpoints"]["best"] = float("nan")
    best["callbacks"]["Checkpoints"]["best"] = -1.0
    for name, checkpoint in ((LAST, last), (BEST, best)):
        path = place.folder("cut").checkpoints / name
        path.unlink()  # one file under two names
        torch.save(checkpoint, path)
    place.train("cut", resume=True)
    assert place.checkpoint("cut")["handsim"]["batches_done"] == 6
    assert place.checkpoint("cut", "best.ckpt")["handsim"]["batches_done"] == 3


def test_numbers_of_a_step_are_possible_ones(whole: Place) -> None:
    for numbers in whole.lines("half"):
        assert 0 < numbers["loss"] < 20
        assert 0 <= numbers["index_wait"] <= numbers["data_wait"] <= 1
        assert 0 <= numbers["without_positive"] <= 1
        assert numbers["images_per_s"] > 0
        assert numbers["positive_distance"] > 0


def test_near_negatives_are_sought_in_batch_and_queue_and_counted(whole: Place) -> None:
    lines = whole.lines("queued")
    assert "near_negatives" not in whole.lines("plain")[0]
    assert all(0 < line["near_negatives"] < 30 for line in lines)
    queue = whole.checkpoint("queued")["queue"]
    assert {name: len(queue[name]) for name in ("projections", "points")} == {"projections": 20, "points": 20}
    assert queue["hands"]["vectors"].isfinite().all()
    assert "queue" not in whole.checkpoint("plain")


PAIRS = 5


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is written below each picture that is drawn from now on."""
    found: list[tuple[str, ...]] = []

    def noted(image: object, keypoints: object, caption: tuple[str, ...]) -> object:
        found.append(caption)
        return Tile(image, keypoints, caption)  # type: ignore[arg-type]

    monkeypatch.setattr(monitor, "Tile", noted)
    return found


@pytest.fixture(scope="module")
def module() -> PretrainModule:
    return PretrainModule(RECIPES.fill(RECIPE, [], "test"), Schedule(1, 1, 1, PAIRS, 1))


def _batch() -> PairBatch:
    torch.manual_seed(0)
    return PairBatch(
        hand_ids=np.arange(10, 20, dtype=np.uint64),
        crops=torch.randint(0, 256, (10, 32, 32, 3), dtype=torch.uint8),
        keypoints=torch.rand(10, 21, 2),
        videos=torch.zeros(10, dtype=torch.int64),
        vectors=torch.empty(10, 0),
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


def test_the_turn_of_hands_is_undone_with_that_of_their_views_and_weighs_no_pair() -> None:
    torch.manual_seed(0)
    keypoints = torch.rand(8, 21, 2)
    turns = torch.rand(8) * 300 - 150
    held = turn_back(keypoints, -turns)
    settings = AugmentationSettings(size_px=8, jitter_px=(0, 0), margin=(1.2, 1.2))
    crops = torch.zeros(8, 8, 8, 3, dtype=torch.uint8)
    upright, turned = (
        replace(augment(crops, each, settings, torch.Generator().manual_seed(number)), hand_deg=hand_deg)
        for number, (each, hand_deg) in enumerate(((keypoints, torch.zeros(8)), (held, turns)))
    )
    # Equivariant projections: the keypoints themselves, about their mean.
    projections = [
        undo_motion(
            (view.keypoints - view.keypoints.mean(1, True)).flatten(1), torch.zeros(8, 2), turn_deg(view)
        )
        for view in (upright, turned)
    ]
    torch.testing.assert_close(projections[0], projections[1], rtol=0, atol=1e-5)
    still = replace(settings, rotation_deg=0.0)
    weighed = [
        keypoints_for_weights(replace(augment(crops, each, still, torch.Generator()), hand_deg=hand_deg))
        for each, hand_deg in ((keypoints, torch.zeros(8)), (held, turns))
    ]
    shapes = [each - each.mean(1, True) for each in weighed]
    sizes = [shape.flatten(1).norm(dim=1)[:, None, None] for shape in shapes]
    torch.testing.assert_close(shapes[0] / sizes[0], shapes[1] / sizes[1], rtol=0, atol=1e-4)


def test_pairs_up_to_a_turn_train_only_with_a_loss_that_undoes_it(module: PretrainModule) -> None:
    batch = replace(_batch(), turns_deg=torch.linspace(-170, 170, 10))
    losses = [
        float(module.training_step(each, 0).detach()) for each in (batch, replace(batch, turns_deg=None))
    ]
    assert losses[0] != losses[1]
    module.config = replace(module.config, loss=replace(module.config.loss, equivariant=False))
    with pytest.raises(HandsimError, match=r"which loss\.equivariant false does not undo"):
        module.training_step(batch, 0)
    module.config = replace(module.config, loss=replace(module.config.loss, equivariant=True))


def _draw(batch: PairBatch, module: PretrainModule, weighting: Weighting) -> Image.Image:
    module.config = replace(module.config, loss=replace(module.config.loss, weighting=weighting))
    random = torch.Generator().manual_seed(1)
    first, second = (
        augment(batch.crops[rows], batch.keypoints[rows], AugmentationSettings(size_px=32), random)
        for rows in (batch.anchors, batch.positives)
    )
    module.views = (first, second)
    return draw_pairs(batch, module)


def test_each_pair_is_drawn_with_its_distance_and_its_weight(
    module: PretrainModule, captions: list[tuple[str, ...]]
) -> None:
    notes = ["distance 0.250", "distance 1.500", "its own second view", format_hand_id(18), "distance 0.000"]
    _draw(_batch(), module, Weighting())
    assert sorted(captions[0::2]) == [(format_hand_id(number),) for number in range(10, 15)]
    assert sorted(captions[1::2]) == sorted((note,) for note in notes)
    captions.clear()
    _draw(_batch(), module, Weighting("both"))
    assert sorted(caption[0] for caption in captions[1::2]) == sorted(notes)
    texts = [caption[1] for caption in captions[1::2]]
    assert all(text.startswith("weight ") for text in texts)
    numbers = [float(text.split()[1]) for text in texts]
    assert (min(numbers), max(numbers)) == (0.0, 1.0)  # linear ones reach from the farthest to the nearest


def test_weights_are_made_of_what_the_recipe_says(module: PretrainModule) -> None:
    batch, views = _batch(), []
    rows = torch.cat([batch.anchors, batch.positives])
    for part in rows.chunk(2):
        random = torch.Generator().manual_seed(1)
        views.append(
            augment(batch.crops[part], batch.keypoints[part], AugmentationSettings(size_px=32), random)
        )
    vectors = torch.rand(len(rows), 3)

    def points(weighting: Weighting) -> torch.Tensor:
        return points_for_weights(weighting, batch, rows, views, vectors)

    in_views = torch.cat([view.keypoints for view in views]) * 128
    assert points(Weighting("both")).equal(in_views)
    assert points(Weighting("both", source="crops")).equal(batch.keypoints[rows] * 128)
    assert points(Weighting("both", source="embedding")).equal(vectors)


def test_fewer_pairs_than_a_row_and_missing_keypoints_are_drawn(module: PretrainModule) -> None:
    batch = _batch()
    batch.keypoints[0] = torch.nan
    batch = replace(batch, anchors=batch.anchors[:1], positives=batch.positives[:1])
    assert min(_draw(batch, module, Weighting()).size) > 64


def test_a_run_draws_its_first_batch_and_then_some(whole: Place) -> None:
    figures = sorted(whole.folder("other").figures.glob("*"))
    assert [path.name for path in figures] == [f"pairs-000000{step}.png" for step in (1, 2, 4)]
    for path in figures:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert len(picture.getcolors(1 << 20) or []) > 100

"""The index follows what is learned, and training takes no harm from it, whatever happens."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from handsim import PoseEmbedding
from handsim.embedding import BlendEmbedding, ImageEmbedding, load_embedding
from handsim.embedding.row_cache import RowCache
from handsim.errors import HandsimError, UnavailableError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, IndexSettings, verify
from tests.training.pairs.builders import write_pool
from tests.training.pretrain.feedback_places import CONFIG, SCHEDULE, SETTINGS, Place, leftovers, make_place
from training.pairs.decoding import PairBatch
from training.pretrain.config import FeedbackSettings, PretrainConfig
from training.pretrain.feedback import Feedback
from training.pretrain.module import PretrainModule
from training.runs.checkpoints import StopRequest
from training.runs.folder import RunFolder
from training.runs.optimizer import Schedule


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = make_place(tmp_path)
    with place.catalog:
        yield place


@pytest.fixture(scope="module")
def module() -> PretrainModule:
    return PretrainModule(CONFIG, SCHEDULE)


@pytest.fixture
def trainer() -> Trainer:
    """All that the callback asks of one."""

    class Alone:
        is_global_zero = True
        world_size = 1

    return cast(Trainer, Alone())


def end_batch(feedback: Feedback, trainer: Trainer, module: PretrainModule, done: int) -> None:
    """As Lightning calls it after a batch; ``done`` counts that in."""
    module.batches_done = done
    feedback.on_train_batch_end(trainer, module, None, cast(PairBatch, None), done - 1)


def test_nothing_of_the_module_is_touched(place: Place, module: PretrainModule, trainer: Trainer) -> None:
    def state() -> list[Any]:
        random_states = [torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()]  # noqa: NPY002
        modes = [(name, one.training) for name, one in module.named_modules()]
        gradients = [parameter.grad for parameter in module.parameters()]
        flags = [torch.is_grad_enabled(), torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32]
        return [random_states, modes, gradients, flags]

    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder)
    module.train()
    module.encoder.trunk.eval()  # as somebody might want it
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = state()
    feedback.on_fit_start(trainer, module)
    end_batch(feedback, trainer, module, 4)
    assert place.catalog.current_name() == "v0002"
    assert state() == before
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    module.train()


def test_pictures_alone(place: Place, module: PretrainModule, trainer: Trainer) -> None:
    settings = replace(SETTINGS, pose_share=0.0)
    feedback = Feedback(settings, place.home, place.catalog, place.folder)
    feedback.on_fit_start(trainer, module)
    end_batch(feedback, trainer, module, 4)
    with place.catalog.current() as version:
        assert (version.info.embedding_kind, version.info.dimension) == ("image", 6)
    assert "(image-6)" in place.log()[-1]
    assert isinstance(load_embedding(place.feedback / "embedding.json"), ImageEmbedding)


def test_the_graph_is_built_as_the_current_one(
    place: Place, module: PretrainModule, trainer: Trainer
) -> None:
    wanted = IndexSettings(m=8, ef=32, index_above_kb=1, full_scan_below_kb=10)
    place.catalog.build(place.pool, PoseEmbedding.fit(place.pool, 5), wanted)
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder)
    feedback.on_fit_start(trainer, module)
    end_batch(feedback, trainer, module, 4)
    current = place.catalog.info(place.catalog.current_name() or "")
    assert (current.name, current.settings) == ("v0003", wanted)


@given(
    every=st.integers(1, 3),
    batches_an_epoch=st.integers(1, 7),
    accumulate=st.integers(1, 5),
    batches=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_it_is_due_between_the_steps_in_which_so_many_epochs_end(
    every: int, batches_an_epoch: int, accumulate: int, batches: int, module: PretrainModule
) -> None:
    turns: list[int] = []

    class Recorded(Feedback):
        def _take_turn(self, trainer: Trainer, module: PretrainModule) -> None:
            turns.append(module.batches_done)

    recorded = Recorded(
        replace(SETTINGS, every_epochs=every),
        Home(Path("home")),
        cast(Catalog, None),
        RunFolder(Path("run")),
    )
    module.schedule = Schedule(batches_an_epoch, batches, batches, 12, accumulate)
    for done in range(1, batches + 1):
        end_batch(recorded, cast(Trainer, None), module, done)
    module.schedule = SCHEDULE
    # For each end of so many epochs: the first step that is over by then, unless training is over, too.
    ends = range(every * batches_an_epoch, batches + 1, every * batches_an_epoch)
    steps = range(accumulate, batches, accumulate)
    assert turns == sorted({step for end in ends for step in [s for s in steps if s >= end][:1]})


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ((RowCache, "add"), HandsimError("no room for features; make some"), "no room for features"),
        ((BlendEmbedding, "save"), OSError(28, "No space left on device"), "is full; `handsim index prune`"),
        ((Catalog, "build"), UnavailableError("the server\nis away"), "the server is away"),
        ((Pool, "crop_jpeg"), HandsimError("hands.tar ends too early"), "ends too early"),
    ],
    ids=["features", "version", "server", "pool"],
)
def test_trouble_is_told_and_training_goes_on(
    place: Place,
    module: PretrainModule,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[type, str],
    error: Exception,
    said: str,
) -> None:
    heard: list[str] = []
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder, heard.append)
    feedback.on_fit_start(trainer, module)
    with monkeypatch.context() as patched:
        patched.setattr(*where, raising(error))
        end_batch(feedback, trainer, module, 4)
    assert len(heard) == 2
    assert heard[1].startswith("no index version with the encoder of epoch 1; training goes on: ")
    assert said in heard[1]
    assert "\n" not in heard[1]
    assert place.names() == ["v0001"]
    assert leftovers(place) == []
    end_batch(feedback, trainer, module, 8)  # and when the trouble is over
    assert place.names() == ["v0001", "v0002"]
    assert heard[-1].startswith("index version v0002 is published")


def test_a_version_that_finds_too_little_is_not_left_there(
    place: Place, module: PretrainModule, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder, heard.append)
    feedback.on_fit_start(trainer, module)
    monkeypatch.setattr(
        "index.catalog.verify",
        lambda version, **options: replace(verify(version, **options), recall_at_1=0.4),
    )
    end_batch(feedback, trainer, module, 4)
    assert "v0002 is written but not published: recall@1 is 0.4000" in heard[-1]
    assert (place.names(), place.catalog.current_name()) == (["v0001"], "v0001")


def test_our_own_mistakes_are_raised(
    place: Place, module: PretrainModule, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder)
    feedback.on_fit_start(trainer, module)
    monkeypatch.setattr(Catalog, "build", raising(ValueError("shapes do not match")))
    with pytest.raises(ValueError, match="shapes do not match"):
        end_batch(feedback, trainer, module, 4)


def test_what_cannot_be_done_is_told_before_training(
    place: Place, module: PretrainModule, trainer: Trainer
) -> None:
    many = replace(SETTINGS, components=40)
    with pytest.raises(HandsimError, match="40 hands are too few to fit 40 components"):
        Feedback(many, place.home, place.catalog, place.folder).on_fit_start(trainer, module)
    write_pool(place.home.pool, videos=1, first_video=20, pictures=False)
    with pytest.raises(HandsimError, match="10 of the 50 hands have keypoints but no picture to encode"):
        Feedback(SETTINGS, place.home, place.catalog, place.folder).on_fit_start(trainer, module)


def test_a_round_that_is_broken_off_is_made_up_for(
    place: Place, module: PretrainModule, trainer: Trainer
) -> None:
    stop, heard = StopRequest(), list[str]()
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder, heard.append, stop)
    feedback.on_fit_start(trainer, module)
    stop.ask()
    end_batch(feedback, trainer, module, 4)
    assert "broken off, because the run is to stop" in heard[-1]
    assert (place.names(), leftovers(place)) == (["v0001"], [])
    resumed = Feedback(SETTINGS, place.home, place.catalog, place.folder)
    resumed.load_state_dict(feedback.state_dict())
    resumed.on_fit_start(trainer, module)
    resumed.on_train_start(trainer, module)
    assert place.catalog.current_name() == "v0002"
    again = Feedback(SETTINGS, place.home, place.catalog, place.folder)
    again.load_state_dict(resumed.state_dict())
    again.on_fit_start(trainer, module)
    again.on_train_start(trainer, module)
    assert place.catalog.current_name() == "v0002"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every_epochs": -1}, r"feedback.every_epochs is -1; it is 0 \(off\) or more"),
        ({"pose_share": 1.0}, "feedback.pose_share is 1.0; it lies from 0 to below 1"),
        ({"components": 0}, "components 0"),
        ({"keep_versions": 1}, "keep_versions 1"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, float], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        FeedbackSettings(**change)  # type: ignore[arg-type]  # numbers of either kind


def test_it_is_off_by_default() -> None:
    assert PretrainConfig().feedback.every_epochs == 0

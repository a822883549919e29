"""Mining with the encoder that is being trained: training takes no harm from it, whatever happens."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from handsim import PoseEmbedding
from handsim.embedding import BlendEmbedding, ImageEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.errors import HandsimError, UnavailableError
from handsim.home import Home
from handsim.pool import Pool
from handsim.processes import StopRequest
from index import Catalog, IndexSettings, IndexVersion, VersionInfo, verify
from tests.index.builders import memory_catalog
from tests.training.pairs.builders import write_pool
from tests.training.pretrain.builders import CONFIG, POOL_PX, SCHEDULE, SETTINGS, FeedbackPlace
from training.pairs.decoding import PairBatch
from training.pretrain.config import FeedbackSettings
from training.pretrain.feedback import Feedback, LearnedVersions, trunk_weights
from training.pretrain.module import PretrainModule
from training.runs.folder import RunFolder
from training.runs.settings import Schedule
from training.runs.trainer import RunOutcome

pytestmark = [  # of what the client's local mode lacks, nothing is needed
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.slow,
]

OPTIONS = ImageFitOptions(components=6, image_size_px=POOL_PX, device="cpu")
PICTURES_ALONE = replace(SETTINGS, pose_share=0.0)


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Iterator[FeedbackPlace]:
    place = FeedbackPlace.copy(world, tmp_path / "home")
    with place.catalog:
        yield place


@pytest.fixture(scope="module")
def module() -> PretrainModule:
    return PretrainModule(CONFIG, SCHEDULE)


@pytest.fixture
def trainer() -> Trainer:
    """All that the callback asks of one."""

    return cast(Trainer, SimpleNamespace(is_global_zero=True, world_size=1))


def end_batch(feedback: Feedback, trainer: Trainer, module: PretrainModule, done: int) -> None:
    """As Lightning calls it after a batch; ``done`` counts that in."""
    module.batches_done = done
    feedback.on_train_batch_end(trainer, module, None, cast(PairBatch, None), done - 1)


def test_a_round_touches_nothing_of_the_module_and_builds_the_graph_as_the_current_one(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer
) -> None:
    def state() -> list[Any]:
        random_states = [torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()]  # noqa: NPY002
        modes = [(name, one.training) for name, one in module.named_modules()]
        gradients = [parameter.grad for parameter in module.parameters()]
        flags = [torch.is_grad_enabled(), torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32]
        return [random_states, modes, gradients, flags]

    wanted = IndexSettings(m=8, ef=32, index_above_kb=1, full_scan_below_kb=10)
    place.catalog.build(place.pool, PoseEmbedding.fit(place.pool, 5), wanted)
    feedback = place.feedback()
    module.train()
    module.encoder.trunk.eval()  # as somebody might want it
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = state()
    feedback.on_fit_start(trainer, module)
    end_batch(feedback, trainer, module, 4)
    assert state() == before
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    module.train()
    with place.catalog.current() as current:
        assert (current.info.name, current.info.settings) == ("v0003", wanted)


@given(
    every=st.integers(1, 3),
    batches_an_epoch=st.integers(1, 7),
    accumulate=st.integers(1, 5),
    batches=st.integers(1, 60),
)
@settings(max_examples=60)
def test_it_is_due_between_the_steps_in_which_so_many_epochs_end(
    every: int, batches_an_epoch: int, accumulate: int, batches: int, module: PretrainModule
) -> None:
    turns: list[int] = []

    class Recorded(Feedback):
        def _run_in_turn(self, trainer: Trainer, module: PretrainModule) -> None:
            turns.append(module.batches_done)

    settings, folder = replace(SETTINGS, every_epochs=every), RunFolder(Path("run"))
    recorded = Recorded(settings, Home(Path("home")), cast(Catalog, None), folder, print, StopRequest())
    module.schedule = Schedule(batches_an_epoch, batches, batches, 12, accumulate)
    for done in range(1, batches + 1):
        end_batch(recorded, cast(Trainer, None), module, done)
    module.schedule = SCHEDULE
    # For each end of so many epochs: the first step that is over by then, unless training is over, too.
    ends = range(every * batches_an_epoch, batches + 1, every * batches_an_epoch)
    steps = range(accumulate, batches, accumulate)
    assert turns == sorted({step for end in ends for step in [s for s in steps if s >= end][:1]})


def raising(error: Exception) -> Mock:
    return Mock(side_effect=error)


def verify_badly(version: IndexVersion, **options: Any) -> object:
    return replace(verify(version, **options), recall_at_1=0.4)


def test_trouble_is_reported_and_training_continues(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    feedback = place.feedback(report=lines.append)
    feedback.on_fit_start(trainer, module)
    no_room, full = HandsimError("no room for features; make some"), OSError(28, "No space left on device")
    away = UnavailableError("the server\nis away")
    for where, replacement, message in (
        ("handsim.pool.row_cache.RowCache.add", raising(no_room), "no room for features"),
        ("handsim.embedding.BlendEmbedding.save", raising(full), "is full; `handsim index prune`"),
        ("index.Catalog.build", raising(away), "the server is away"),
        (
            "handsim.pool.Pool.stored_jpeg",
            raising(HandsimError("hands.tar ends too early")),
            "ends too early",
        ),
        ("index.catalog.verify", verify_badly, "v0002 is written but not published: recall@1 is 0.4000"),
    ):
        lines.clear()
        with monkeypatch.context() as patched:
            patched.setattr(where, replacement)
            end_batch(feedback, trainer, module, 4)
        assert len(lines) == 2
        assert lines[1].startswith("no index version with the encoder of epoch 1; training goes on: ")
        assert message in lines[1]
        assert "\n" not in lines[1]
        assert (place.names(), place.catalog.current_name()) == (["v0001"], "v0001")
        assert place.leftovers() == []
    with monkeypatch.context() as patched:
        patched.setattr(Catalog, "build", raising(ValueError("shapes do not match")))
        with pytest.raises(ValueError, match="shapes do not match"):  # a mistake of ours
            end_batch(feedback, trainer, module, 4)
    end_batch(feedback, trainer, module, 8)  # and when the trouble is over
    assert place.names() == ["v0001", "v0003"]
    assert lines[-1].startswith("index version v0003 is published")


def test_what_cannot_be_done_is_refused_before_training(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer
) -> None:
    with pytest.raises(HandsimError, match="20 hands are too few to fit 40 components"):
        place.feedback(replace(SETTINGS, components=40)).on_fit_start(trainer, module)
    write_pool(place.home.pool, videos=1, pictures=False)
    with pytest.raises(HandsimError, match="10 of the 30 hands have keypoints but no picture to encode"):
        place.feedback().on_fit_start(trainer, module)


def test_a_resumed_run_makes_up_for_an_interrupted_round_once(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer
) -> None:
    stop, lines = StopRequest(), list[str]()
    feedback = place.feedback(report=lines.append, stop=stop)
    feedback.on_fit_start(trainer, module)
    stop.request()
    end_batch(feedback, trainer, module, 4)
    assert "interrupted, because the run is to stop" in lines[-1]
    assert (place.names(), place.leftovers()) == (["v0001"], [])
    for _ in range(2):
        resumed = place.feedback()
        resumed.load_state_dict(feedback.state_dict())
        resumed.on_fit_start(trainer, module)
        resumed.on_train_start(trainer, module)
        assert place.catalog.current_name() == "v0002"
        feedback = resumed


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeedbackPlace]:
    """A run of four epochs and a step, with a round after each epoch, resumed after the first round."""
    torch.set_num_threads(1)
    place = FeedbackPlace.copy(world, tmp_path_factory.mktemp("trained") / "home")
    with place.catalog:
        assert place.train(5) == RunOutcome(5, finished=True)
        assert place.names() == ["v0001", "v0002"]
        assert place.train(17, resume=True) == RunOutcome(17, finished=True)
        yield place


def test_pairs_come_from_what_was_learned(trained: FeedbackPlace) -> None:
    place, hand_ids = trained, trained.pool.hand_ids[:4]
    with place.catalog.current() as version, place.catalog.open("v0001") as first:
        assert (version.info.name, version.info.embedding_kind) == ("v0005", "blend")
        # It is the encoder's own view of the hands, beside the pose of the version before, also when resumed.
        written = load_embedding(place.path / "embedding.json")
        assert isinstance(written, BlendEmbedding)
        assert version.embedding.fingerprint == written.fingerprint
        assert written.pose.fingerprint == first.embedding.fingerprint
        crops = [place.pool.crop(int(hand_id)) for hand_id in hand_ids]
        computed = written.embed(keypoints=place.pool.keypoints[:4], crops=crops)
        np.testing.assert_allclose(version.vectors(hand_ids), computed, atol=2e-3)
    assert written.image.record.encoder == "run-epoch-4.safetensors"
    assert written.image.record.image_size_px == POOL_PX
    log = place.log()
    for number in (2, 3, 4, 5):
        published = f"index version v000{number} is published: 20 hands (blend-11) in "
        assert sum(line.startswith(published) for line in log) == 1
    moved = next(line for line in log if line.startswith("pairs come from index version"))
    assert re.fullmatch(r"pairs come from index version v000[345] now, until here from v0002", moved)


def test_nothing_piles_up(trained: FeedbackPlace) -> None:
    place = trained
    assert place.names() == ["v0001", "v0004", "v0005"]
    made = json.loads((place.path / "versions.json").read_text())
    assert list(made) == ["v0004", "v0005"]
    assert sorted(path.name for path in place.path.glob("encoder-*")) == sorted(made.values())
    assert place.leftovers() == []
    for name, encoder_file in made.items():  # on the disk once
        assert (place.path / encoder_file).samefile(place.home.path / "index" / name / encoder_file)


def test_a_round_leaves_training_as_it_is(
    place: FeedbackPlace, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, as far as the pairs are the same: here no version is published after all."""

    def losses(place: FeedbackPlace, feedback: FeedbackSettings) -> list[float]:
        assert place.train(5, feedback) == RunOutcome(5, finished=True)
        return [json.loads(line)["loss"] for line in place.folder.metrics.read_text().splitlines()]

    other = FeedbackPlace.copy(world, tmp_path / "other")
    with other.catalog:
        without = losses(other, FeedbackSettings())
    monkeypatch.setattr(place.catalog, "build", raising(HandsimError("the disk is full; make room")))
    assert losses(place, SETTINGS) == without
    message = "no index version with the encoder of epoch 1; training goes on: the disk is full; make room"
    assert place.log().count(message) == 1
    assert place.leftovers() == []
    assert list(place.path.iterdir()) == []


def make(place: FeedbackPlace, learned: LearnedVersions, module: PretrainModule, seed: int) -> VersionInfo:
    """A version by a trunk that differs from others."""
    weights = trunk_weights(module, f"seed-{seed}")
    weights.tensors["conv1.weight"] *= 1 + seed / 10
    return learned.make(weights, OPTIONS, lambda done, total: None)


def test_only_what_was_made_here_is_removed(place: FeedbackPlace, module: PretrainModule) -> None:
    learned = place.learned()
    make(place, learned, module, 1)
    place.catalog.build(place.pool, PoseEmbedding.fit(place.pool, 4))  # by somebody else, meanwhile
    make(place, learned, module, 2)
    catalog = type(place.catalog)
    publish = catalog.publish

    def publish_and_take_back(self: Any, name: str) -> None:
        publish(self, name)
        publish(self, "v0002")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(catalog, "publish", publish_and_take_back)
        make(place, learned, module, 3)
    assert place.names() == ["v0001", "v0002", "v0003", "v0004", "v0005"], "v0002 is old, and current"
    with place.catalog.open("v0004"):  # by somebody who reads
        make(place, learned, module, 4)
        assert place.names() == ["v0001", "v0003", "v0004", "v0005", "v0006"]
        encoders = set(json.loads((place.path / "versions.json").read_text()).values())
        assert {path.name for path in place.path.glob("encoder-*")} == encoders
        assert len(encoders) == 3
    place.catalog.remove("v0005")  # by somebody else
    make(place, place.learned(), module, 5)  # by a run that was resumed
    assert place.names() == ["v0001", "v0003", "v0006", "v0007"]
    assert len(list(place.path.glob("encoder-*"))) == 2


def test_pictures_can_be_searched_for_on_a_server(
    world: Path, module: PretrainModule, tmp_path: Path
) -> None:
    place = FeedbackPlace.copy(world, tmp_path / "home", memory_catalog())
    hand_id = place.pool.hand_ids[7]
    with place.catalog:
        make(place, place.learned(), module, 1)
        written = load_embedding(place.path / "embedding.json")
        with place.catalog.current() as version:
            assert version.embedding.fingerprint == written.fingerprint
            vector = written.embed(keypoints=place.pool.keypoints[7:8], crops=[place.pool.crop(int(hand_id))])
            assert version.search(vector, 1).hand_ids[0, 0] == hand_id


def test_the_homes_own_embedding_stays_and_what_a_killed_round_left_goes(
    place: FeedbackPlace, module: PretrainModule, tmp_path: Path
) -> None:
    torch.save(module.encoder.trunk.state_dict(), tmp_path / "trunk.pt")
    fit_image_embedding(place.pool, str(tmp_path / "trunk.pt"), place.home.embedding, OPTIONS)
    left = place.path / ".round" / "features" / "abc"
    left.mkdir(parents=True)
    (left / "1.rows.npy").write_bytes(b"half")
    (place.path / ".round" / "pool").symlink_to(place.home.pool)

    def files() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in place.home.path.rglob("*")
            if path.is_file() and path.relative_to(place.home.path).parts[0] not in ("index", "runs")
        }

    before = files()
    assert any("vectors" in name for name in before)
    assert any("pool" in name for name in before)
    make(place, place.learned(), module, 0)  # the very same embedding
    assert files() == before
    assert not (place.path / ".round").exists()
    assert len(Pool.open(place.home.pool)) == len(place.pool)


def test_the_pose_is_the_current_versions_or_the_homes_or_a_new_one(
    place: FeedbackPlace, module: PretrainModule
) -> None:
    def fingerprint() -> str:
        pose = place.learned().pose
        assert pose is not None
        return pose.fingerprint

    five, four = PoseEmbedding.fit(place.pool, 5), PoseEmbedding.fit(place.pool, 4)
    four.save(place.home.embedding)
    assert fingerprint() == five.fingerprint
    make(place, place.learned(), module, 1)  # a blend
    assert fingerprint() == five.fingerprint
    make(place, place.learned(PICTURES_ALONE), module, 1)
    pictures = load_embedding(place.path / "embedding.json")
    assert isinstance(pictures, ImageEmbedding)
    with place.catalog.current() as version:
        assert (version.info.embedding_kind, version.info.dimension) == ("image", 6)
    assert fingerprint() == four.fingerprint
    pictures.save(place.home.embedding)
    assert fingerprint() == PoseEmbedding.fit(place.pool).fingerprint
    place.home.embedding.unlink()
    assert fingerprint() == PoseEmbedding.fit(place.pool).fingerprint
    place.catalog.build(place.pool, four)
    assert fingerprint() == four.fingerprint
    assert place.learned(PICTURES_ALONE).pose is None

"""Mining with the encoder that is being trained: training takes no harm from it, whatever happens."""

import json
import random
import re
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
from handsim.embedding import BlendEmbedding, Embedding, ImageEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.embedding.row_cache import RowCache
from handsim.errors import HandsimError, UnavailableError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, IndexSettings, VersionInfo, verify
from tests.index.builders import memory_catalog
from tests.training.pairs.builders import SIZE_PX, write_pool
from tests.training.pretrain.builders import CONFIG, SCHEDULE, SETTINGS, FeedbackPlace, leftovers, make_place
from training.pairs.decoding import PairBatch
from training.pretrain.config import FeedbackSettings
from training.pretrain.feedback import Feedback, LearnedVersions, trunk_weights
from training.pretrain.module import PretrainModule
from training.pretrain.train import pretrain
from training.runs.checkpoints import StopRequest
from training.runs.folder import RunFolder
from training.runs.settings import Schedule
from training.runs.trainer import RunOutcome

pytestmark = [  # of what the client's local mode lacks, nothing is needed
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[FeedbackPlace]:
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


def test_nothing_of_the_module_is_touched(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer
) -> None:
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


def test_pictures_alone(place: FeedbackPlace, module: PretrainModule, trainer: Trainer) -> None:
    settings = replace(SETTINGS, pose_share=0.0)
    feedback = Feedback(settings, place.home, place.catalog, place.folder)
    feedback.on_fit_start(trainer, module)
    end_batch(feedback, trainer, module, 4)
    with place.catalog.current() as version:
        assert (version.info.embedding_kind, version.info.dimension) == ("image", 6)
    assert "(image-6)" in place.log()[-1]
    assert isinstance(load_embedding(place.feedback / "embedding.json"), ImageEmbedding)


def test_the_graph_is_built_as_the_current_one(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer
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
        def _run_in_turn(self, trainer: Trainer, module: PretrainModule) -> None:
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
    ("where", "error", "message"),
    [
        ((RowCache, "add"), HandsimError("no room for features; make some"), "no room for features"),
        ((BlendEmbedding, "save"), OSError(28, "No space left on device"), "is full; `handsim index prune`"),
        ((Catalog, "build"), UnavailableError("the server\nis away"), "the server is away"),
        ((Pool, "crop_jpeg"), HandsimError("hands.tar ends too early"), "ends too early"),
    ],
    ids=["features", "version", "server", "pool"],
)
def test_trouble_is_told_and_training_goes_on(
    place: FeedbackPlace,
    module: PretrainModule,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[type, str],
    error: Exception,
    message: str,
) -> None:
    heard: list[str] = []
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder, heard.append)
    feedback.on_fit_start(trainer, module)
    with monkeypatch.context() as patched:
        patched.setattr(*where, raising(error))
        end_batch(feedback, trainer, module, 4)
    assert len(heard) == 2
    assert heard[1].startswith("no index version with the encoder of epoch 1; training goes on: ")
    assert message in heard[1]
    assert "\n" not in heard[1]
    assert place.names() == ["v0001"]
    assert leftovers(place) == []
    end_batch(feedback, trainer, module, 8)  # and when the trouble is over
    assert place.names() == ["v0001", "v0002"]
    assert heard[-1].startswith("index version v0002 is published")


def test_a_version_that_finds_too_little_is_not_left_there(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
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
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder)
    feedback.on_fit_start(trainer, module)
    monkeypatch.setattr(Catalog, "build", raising(ValueError("shapes do not match")))
    with pytest.raises(ValueError, match="shapes do not match"):
        end_batch(feedback, trainer, module, 4)


def test_what_cannot_be_done_is_told_before_training(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer
) -> None:
    many = replace(SETTINGS, components=40)
    with pytest.raises(HandsimError, match="40 hands are too few to fit 40 components"):
        Feedback(many, place.home, place.catalog, place.folder).on_fit_start(trainer, module)
    write_pool(place.home.pool, videos=1, first_video=20, pictures=False)
    with pytest.raises(HandsimError, match="10 of the 50 hands have keypoints but no picture to encode"):
        Feedback(SETTINGS, place.home, place.catalog, place.folder).on_fit_start(trainer, module)


def test_a_round_that_is_broken_off_is_made_up_for(
    place: FeedbackPlace, module: PretrainModule, trainer: Trainer
) -> None:
    stop, heard = StopRequest(), list[str]()
    feedback = Feedback(SETTINGS, place.home, place.catalog, place.folder, heard.append, stop)
    feedback.on_fit_start(trainer, module)
    stop.request()
    end_batch(feedback, trainer, module, 4)
    assert "interrupted, because the run is to stop" in heard[-1]
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FeedbackPlace, RunOutcome]]:
    """A run of three epochs and a half, with a round after each."""
    torch.set_num_threads(1)
    place = make_place(tmp_path_factory.mktemp("trained"))
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, epochs=4, max_steps=14))
    with place.catalog:
        yield place, pretrain(config, place.home, place.catalog, place.folder, say=lambda line: None)


def test_pairs_come_from_what_was_learned(trained: tuple[FeedbackPlace, RunOutcome]) -> None:
    place, outcome = trained
    assert outcome == RunOutcome(14, finished=True)
    assert place.catalog.current_name() == "v0004"
    with place.catalog.current() as version:
        assert (version.info.embedding_kind, version.info.dimension) == ("blend", 5 + 6)
        # It is the encoder's own view of the hands, beside the pose of the version before.
        written = load_embedding(place.feedback / "embedding.json")
        assert isinstance(written, BlendEmbedding)
        assert version.embedding.fingerprint == written.fingerprint
        crops = [place.pool.crop(int(hand_id)) for hand_id in place.pool.hand_ids[:4]]
        seen = written.embed(keypoints=place.pool.keypoints[:4], crops=crops)
        np.testing.assert_allclose(version.vectors(place.pool.hand_ids[:4]), seen, atol=2e-3)
    with place.catalog.open("v0001") as first:
        assert written.pose.fingerprint == first.embedding.fingerprint
    assert written.image.record.encoder == "run-epoch-3.safetensors"
    assert written.image.record.image_size_px == SIZE_PX
    log = place.log()
    for number in (2, 3, 4):
        published = f"index version v000{number} is published: 40 hands (blend-11) in "
        assert sum(line.startswith(published) for line in log) == 1
    moved = next(line for line in log if line.startswith("pairs come from index version"))
    assert re.fullmatch(r"pairs come from index version v000[234] now, until here from v0001", moved)


def test_nothing_piles_up(trained: tuple[FeedbackPlace, RunOutcome]) -> None:
    place, _ = trained
    assert place.names() == ["v0001", "v0003", "v0004"]
    made = json.loads((place.feedback / "versions.json").read_text())
    assert list(made) == ["v0003", "v0004"]
    assert sorted(path.name for path in place.feedback.glob("encoder-*")) == sorted(made.values())
    assert leftovers(place) == []
    for name, encoder_file in made.items():  # on the disk once
        assert (place.feedback / encoder_file).samefile(place.home.path / "index" / name / encoder_file)


def test_a_run_that_is_resumed_goes_on_with_it(place: FeedbackPlace) -> None:
    def run(batches: int, *, resume: bool = False) -> RunOutcome:
        config = replace(CONFIG, trainer=replace(CONFIG.trainer, epochs=3, max_steps=batches))
        return pretrain(config, place.home, place.catalog, place.folder, resume=resume, say=lambda line: None)

    assert run(5) == RunOutcome(5, finished=True)
    assert place.names() == ["v0001", "v0002"]
    assert run(9, resume=True) == RunOutcome(9, finished=True)
    assert list(json.loads((place.feedback / "versions.json").read_text())) == ["v0002", "v0003"]
    poses = set()
    for name in ("v0002", "v0003"):
        with place.catalog.open(name) as version:
            assert isinstance(version.embedding, BlendEmbedding)
            poses.add(version.embedding.pose.fingerprint)
    assert len(poses) == 1  # the resumed one found it in the version before


def test_a_round_leaves_training_as_it_is(
    place: FeedbackPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, as far as the pairs are the same: here no version is published after all."""

    def losses(place: FeedbackPlace, feedback: FeedbackSettings) -> list[float]:
        config = replace(CONFIG, feedback=feedback, trainer=replace(CONFIG.trainer, max_steps=6))
        outcome = pretrain(config, place.home, place.catalog, place.folder, say=lambda line: None)
        assert outcome == RunOutcome(6, finished=True)
        lines = (place.folder.path / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    def full(*arguments: object, **options: object) -> None:
        raise HandsimError("the disk is full; make room")

    other = make_place(tmp_path / "other")
    with other.catalog:
        without = losses(other, FeedbackSettings())
    monkeypatch.setattr(place.catalog, "build", full)
    assert losses(place, SETTINGS) == without
    message = "no index version with the encoder of epoch 1; training goes on: the disk is full; make room"
    assert place.log().count(message) == 1
    assert leftovers(place) == []
    assert list(place.feedback.iterdir()) == []


@pytest.fixture(params=["edge", "server"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeedbackPlace]:
    """An index in a directory, and one that is asked as a server is."""
    place = make_place(tmp_path, memory_catalog() if request.param == "server" else None)
    with place.catalog:
        yield place


def make(place: FeedbackPlace, learned: LearnedVersions, module: PretrainModule, seed: int) -> VersionInfo:
    """A version by a trunk that differs from others."""
    weights = trunk_weights(module, f"seed-{seed}")
    weights.tensors["conv1.weight"] *= 1 + seed / 10
    options = ImageFitOptions(components=6, image_size_px=SIZE_PX, device="cpu")
    return learned.make(weights, options, lambda done, total: None)


def test_only_what_was_made_here_is_removed(anywhere: FeedbackPlace, module: PretrainModule) -> None:
    place, learned = anywhere, anywhere.learned()
    make(place, learned, module, 1)
    place.catalog.build(place.pool, PoseEmbedding.fit(place.pool, 4))  # by somebody else, meanwhile
    make(place, learned, module, 2)
    place.catalog.publish("v0002")  # by somebody who liked it
    make(place, learned, module, 3)
    assert place.names() == ["v0001", "v0003", "v0004", "v0005"]
    with place.catalog.open("v0004"):  # by somebody who reads
        make(place, learned, module, 4)
        assert place.names() == ["v0001", "v0003", "v0004", "v0005", "v0006"]
        encoders = set(json.loads((place.feedback / "versions.json").read_text()).values())
        assert {path.name for path in place.feedback.glob("encoder-*")} == encoders
        assert len(encoders) == 3
    place.catalog.remove("v0005")  # by somebody else
    make(place, place.learned(), module, 5)  # by a run that was resumed
    assert place.names() == ["v0001", "v0003", "v0006", "v0007"]
    assert len(list(place.feedback.glob("encoder-*"))) == 2


def test_the_current_version_stays_though_it_is_old(place: FeedbackPlace, module: PretrainModule) -> None:
    learned = place.learned()
    for seed in (1, 2):
        make(place, learned, module, seed)
    publish = type(place.catalog).publish

    def published_and_taken_back(catalog: Catalog, name: str) -> None:
        publish(catalog, name)
        publish(catalog, "v0002")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(place.catalog), "publish", published_and_taken_back)
        make(place, learned, module, 3)
    assert place.names() == ["v0001", "v0002", "v0003", "v0004"]
    assert len(list(place.feedback.glob("encoder-*"))) == 3


def test_pictures_can_be_asked_about_wherever_the_index_is(
    anywhere: FeedbackPlace, module: PretrainModule
) -> None:
    place = anywhere
    make(place, place.learned(), module, 1)
    written = load_embedding(place.feedback / "embedding.json")
    with place.catalog.current() as version:
        assert version.embedding.fingerprint == written.fingerprint
        asked = written.embed(
            keypoints=place.pool.keypoints[7:8], crops=[place.pool.crop(int(place.pool.hand_ids[7]))]
        )
        assert version.search(asked, 1).hand_ids[0, 0] == place.pool.hand_ids[7]


def test_what_a_killed_round_left_goes_with_the_next(place: FeedbackPlace, module: PretrainModule) -> None:
    left = place.feedback / ".round" / "features" / "abc"
    left.mkdir(parents=True)
    (left / "1.rows.npy").write_bytes(b"half")
    (place.feedback / ".round" / "pool").symlink_to(place.home.pool)
    make(place, place.learned(), module, 1)
    assert leftovers(place) == []
    assert len(Pool.open(place.home.pool)) == len(place.pool)  # the pool itself is not


def test_the_homes_own_embedding_stays_as_it_is(
    place: FeedbackPlace, module: PretrainModule, tmp_path: Path
) -> None:
    torch.save(module.encoder.trunk.state_dict(), tmp_path / "trunk.pt")
    options = ImageFitOptions(components=6, image_size_px=SIZE_PX, device="cpu")
    fit_image_embedding(place.pool, str(tmp_path / "trunk.pt"), place.home.embedding, options)

    def files() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in place.home.path.rglob("*")
            if path.is_file() and path.relative_to(place.home.path).parts[0] not in ("index", "runs")
        }

    before = files()
    assert any("vectors" in name for name in before)
    make(place, place.learned(), module, 0)  # the very same embedding
    assert files() == before


def test_the_pose_is_the_current_versions_or_the_homes_or_a_new_one(
    place: FeedbackPlace, module: PretrainModule
) -> None:
    def chosen() -> str:
        pose = place.learned().pose
        assert pose is not None
        return pose.fingerprint

    def build(embedding: Embedding) -> None:
        place.catalog.build(place.pool, embedding)

    five, four = PoseEmbedding.fit(place.pool, 5), PoseEmbedding.fit(place.pool, 4)
    four.save(place.home.embedding)
    assert chosen() == five.fingerprint
    make(place, place.learned(), module, 1)  # a blend
    assert chosen() == five.fingerprint
    make(place, place.learned(replace(SETTINGS, pose_share=0.0)), module, 1)  # pictures alone
    assert chosen() == four.fingerprint
    load_embedding(place.feedback / "embedding.json").save(place.home.embedding)  # an image embedding
    assert chosen() == PoseEmbedding.fit(place.pool).fingerprint
    place.home.embedding.unlink()
    assert chosen() == PoseEmbedding.fit(place.pool).fingerprint
    build(four)
    assert chosen() == four.fingerprint
    assert place.learned(replace(SETTINGS, pose_share=0.0)).pose is None

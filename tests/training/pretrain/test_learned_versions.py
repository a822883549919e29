"""Versions made while a run goes on: whose pose they take, which of them stay, what is left on the disk."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from handsim import PoseEmbedding
from handsim.embedding import Embedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.pool import Pool
from index import Catalog, VersionInfo
from tests.index.builders import memory_catalog
from tests.training.pairs.builders import SIZE_PX
from tests.training.pretrain.feedback_places import CONFIG, SCHEDULE, SETTINGS, Place, leftovers, make_place
from training.pretrain.feedback import LearnedVersions, trunk_weights
from training.pretrain.module import PretrainModule

pytestmark = [  # of what the client's local mode lacks, nothing is needed
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


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


@pytest.fixture(params=["edge", "server"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An index in a directory, and one that is asked as a server is."""
    place = make_place(tmp_path, memory_catalog() if request.param == "server" else None)
    with place.catalog:
        yield place


def make(place: Place, learned: LearnedVersions, module: PretrainModule, seed: int) -> VersionInfo:
    """A version by a trunk that differs from others."""
    weights = trunk_weights(module, f"seed-{seed}")
    weights.tensors["conv1.weight"] *= 1 + seed / 10
    options = ImageFitOptions(components=6, image_size_px=SIZE_PX, device="cpu")
    return learned.make(weights, options, lambda done, total: None)


def test_only_what_was_made_here_is_removed(anywhere: Place, module: PretrainModule) -> None:
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


def test_the_current_version_stays_though_it_is_old(place: Place, module: PretrainModule) -> None:
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


def test_pictures_can_be_asked_about_wherever_the_index_is(anywhere: Place, module: PretrainModule) -> None:
    place = anywhere
    make(place, place.learned(), module, 1)
    written = load_embedding(place.feedback / "embedding.json")
    with place.catalog.current() as version:
        assert version.embedding.fingerprint == written.fingerprint
        asked = written.embed(
            keypoints=place.pool.keypoints[7:8], crops=[place.pool.crop(int(place.pool.hand_ids[7]))]
        )
        assert version.search(asked, 1).hand_ids[0, 0] == place.pool.hand_ids[7]


def test_what_a_killed_round_left_goes_with_the_next(place: Place, module: PretrainModule) -> None:
    left = place.feedback / ".round" / "features" / "abc"
    left.mkdir(parents=True)
    (left / "1.rows.npy").write_bytes(b"half")
    (place.feedback / ".round" / "pool").symlink_to(place.home.pool)
    make(place, place.learned(), module, 1)
    assert leftovers(place) == []
    assert len(Pool.open(place.home.pool)) == len(place.pool)  # the pool itself is not


def test_the_homes_own_embedding_stays_as_it_is(place: Place, module: PretrainModule, tmp_path: Path) -> None:
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
    place: Place, module: PretrainModule
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

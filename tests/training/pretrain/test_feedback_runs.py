"""Whole runs with feedback: pairs follow what is learned, and nothing else changes."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handsim.embedding import BlendEmbedding, load_embedding
from handsim.errors import HandsimError
from tests.training.pairs.builders import SIZE_PX
from tests.training.pretrain.feedback_places import CONFIG, SETTINGS, Place, leftovers, make_place
from training.pretrain.config import FeedbackSettings
from training.pretrain.train import pretrain
from training.runs.trainer import Outcome


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = make_place(tmp_path)
    with place.catalog:
        yield place


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Outcome]]:
    """A run of three epochs and a half, with a round after each."""
    torch.set_num_threads(1)
    place = make_place(tmp_path_factory.mktemp("trained"))
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, epochs=4, max_steps=14))
    with place.catalog:
        yield place, pretrain(config, place.home, place.catalog, place.folder, say=lambda line: None)


def test_pairs_come_from_what_was_learned(trained: tuple[Place, Outcome]) -> None:
    place, outcome = trained
    assert outcome == Outcome(14, finished=True)
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


def test_nothing_piles_up(trained: tuple[Place, Outcome]) -> None:
    place, _ = trained
    assert place.names() == ["v0001", "v0003", "v0004"]
    made = json.loads((place.feedback / "versions.json").read_text())
    assert list(made) == ["v0003", "v0004"]
    assert sorted(path.name for path in place.feedback.glob("encoder-*")) == sorted(made.values())
    assert leftovers(place) == []
    for name, encoder_file in made.items():  # on the disk once
        assert (place.feedback / encoder_file).samefile(place.home.path / "index" / name / encoder_file)


def test_a_run_that_is_resumed_goes_on_with_it(place: Place) -> None:
    def run(batches: int, *, resume: bool = False) -> Outcome:
        config = replace(CONFIG, trainer=replace(CONFIG.trainer, epochs=3, max_steps=batches))
        return pretrain(config, place.home, place.catalog, place.folder, resume=resume, say=lambda line: None)

    assert run(5) == Outcome(5, finished=True)
    assert place.names() == ["v0001", "v0002"]
    assert run(9, resume=True) == Outcome(9, finished=True)
    assert list(json.loads((place.feedback / "versions.json").read_text())) == ["v0002", "v0003"]
    poses = set()
    for name in ("v0002", "v0003"):
        with place.catalog.open(name) as version:
            assert isinstance(version.embedding, BlendEmbedding)
            poses.add(version.embedding.pose.fingerprint)
    assert len(poses) == 1  # the resumed one found it in the version before


def test_a_round_leaves_training_as_it_is(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, as far as the pairs are the same: here no version is published after all."""

    def losses(place: Place, feedback: FeedbackSettings) -> list[float]:
        config = replace(CONFIG, feedback=feedback, trainer=replace(CONFIG.trainer, max_steps=6))
        outcome = pretrain(config, place.home, place.catalog, place.folder, say=lambda line: None)
        assert outcome == Outcome(6, finished=True)
        lines = (place.folder.path / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    def full(*arguments: object, **options: object) -> None:
        raise HandsimError("the disk is full; make room")

    other = make_place(tmp_path / "other")
    with other.catalog:
        without = losses(other, FeedbackSettings())
    monkeypatch.setattr(place.catalog, "build", full)
    assert losses(place, SETTINGS) == without
    said = "no index version with the encoder of epoch 1; training goes on: the disk is full; make room"
    assert sum(line == said for line in place.log()) == 1
    assert leftovers(place) == []
    assert list(place.feedback.iterdir()) == []

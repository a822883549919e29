"""Poses and pictures in one embedding: distances add up by shares; it travels whole and fills an index."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim import Pool
from handsim.embedding import (
    BlendEmbedding,
    ImageEmbedding,
    PoseEmbedding,
    embedding_from_facts,
    load_embedding,
)
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.errors import HandsimError, NotThereError
from index import open_catalog
from tests.handsim.embedding.image.pools import CROP_PX, write_pool

HANDS = 40
OPTIONS = ImageFitOptions(components=5, image_size_px=CROP_PX, device="cpu")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 40 hands and an embedding of each kind: 4 components of poses, 5 of pictures."""
    home = tmp_path_factory.mktemp("fitted")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None).state_dict(), home / "hands.pt")
    pool = write_pool(home / "pool", range(HANDS))
    PoseEmbedding.fit(pool, 4).save(home / "pose.json")
    fit_image_embedding(pool, str(home / "hands.pt"), home / "image.json", OPTIONS)
    blend(home, 0.3).save(home / "blend.json")
    return home


@pytest.fixture
def home(fitted: Path, tmp_path: Path) -> Path:
    """A copy of it for a test to change."""
    return shutil.copytree(fitted, tmp_path / "home")


def blend(home: Path, share: float) -> BlendEmbedding:
    return BlendEmbedding(
        PoseEmbedding.load(home / "pose.json"), ImageEmbedding.load(home / "image.json"), share
    )


def squared_distances(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    apart = vectors[:, None].astype(np.float64) - vectors[None]
    squared: NDArray[np.float64] = np.square(apart).sum(axis=2)
    return squared


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.001, 0.999))
def test_squared_distances_add_up_by_shares(fitted: Path, share: float) -> None:
    pool, blended = Pool.open(fitted / "pool"), blend(fitted, share)
    poses = blended.pose.embed_hands(pool, slice(None))
    pictures = blended.image.embed_hands(pool, slice(None))
    vectors = blended.embed_hands(pool, slice(None))
    # The variance of each part over the pool is taken from its vectors here, and from its fit there.
    expected = share * squared_distances(poses) / poses.var(axis=0, ddof=1).sum()
    expected += (1 - share) * squared_distances(pictures) / pictures.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(squared_distances(vectors), expected, rtol=2e-4, atol=1e-5)
    assert vectors.var(axis=0, ddof=1).sum() == pytest.approx(1, rel=2e-4)
    assert vectors[:, :4].var(axis=0, ddof=1).sum() == pytest.approx(share, rel=2e-4)
    assert vectors.dtype == np.float32
    assert (vectors.shape, blended.dimension) == ((HANDS, 9), 9)


def test_the_share_decides_whose_neighbours_are_the_nearest(fitted: Path) -> None:
    pool = Pool.open(fitted / "pool")

    def nearest(vectors: NDArray[np.floating]) -> list[int]:
        apart = squared_distances(vectors) + np.diag(np.full(HANDS, np.inf))
        return [int(row) for row in apart.argmin(axis=1)]

    half = blend(fitted, 0.5)
    poses, pictures = (nearest(part.embed_hands(pool, slice(None))) for part in (half.pose, half.image))
    assert poses != pictures
    assert nearest(blend(fitted, 0.99999).embed_hands(pool, slice(None))) == poses
    assert nearest(blend(fitted, 0.00001).embed_hands(pool, slice(None))) == pictures


def test_explained_variance_is_that_of_the_whole(fitted: Path) -> None:
    blended = blend(fitted, 0.3)
    ratios = blended.explained_variance_ratio_
    parts = blended.pose.explained_variance_ratio_.sum(), blended.image.explained_variance_ratio_.sum()
    # Of what the components keep, the pose has its share; the rest is what each part loses.
    assert ratios[:4].sum() / ratios.sum() == pytest.approx(0.3)
    assert min(parts) < ratios.sum() < max(parts)
    lost = 0.3 * (1 / parts[0] - 1) + 0.7 * (1 / parts[1] - 1)
    assert ratios.sum() == pytest.approx(1 / (1 + lost))
    assert (np.diff(ratios[:4]) <= 0).all()
    assert (np.diff(ratios[4:]) <= 0).all()


def test_a_hand_that_is_asked_about_lands_where_the_pool_has_it(fitted: Path) -> None:
    pool, blended = Pool.open(fitted / "pool"), blend(fitted, 0.3)
    kept = blended.embed_hands(pool, np.arange(3, 9))
    crops = [pool.crop(hand_id) for hand_id in pool.hand_ids[3:9].tolist()]
    seen = blended.embed(keypoints=pool.keypoints[3:9], crops=crops)
    np.testing.assert_allclose(seen, kept, atol=2e-3 * np.abs(kept).max())
    assert blended.embed(keypoints=pool.keypoints[:0], crops=[]).shape == (0, 9)


def test_it_asks_for_both(fitted: Path) -> None:
    pool, blended = Pool.open(fitted / "pool"), blend(fitted, 0.3)
    crops = [pool.crop(int(pool.hand_ids[0]))]
    with pytest.raises(
        HandsimError, match="together, keypoints alone cannot be placed in it; ask with a pic"
    ):
        blended.embed(keypoints=pool.keypoints[:1])
    with pytest.raises(HandsimError, match="together, pictures alone cannot be placed in it; ask with keyp"):
        blended.embed(crops=crops)
    with pytest.raises(HandsimError, match="2 poses and 1 crops; give one crop for each pose"):
        blended.embed(keypoints=pool.keypoints[:2], crops=crops)
    for share in (-0.1, 0.0, 1.0, float("nan")):
        with pytest.raises(HandsimError, match=f"pose_share is {share}; it lies between 0 and 1"):
            blend(fitted, share)


def test_parts_that_tell_no_hands_apart_are_refused(fitted: Path) -> None:
    alike = PoseEmbedding.fit(np.full((10, 21, 2), 0.5), 2, "centre")
    with pytest.raises(
        HandsimError, match="the variance of the poses in their embedding is 0; to be blended"
    ):
        BlendEmbedding(alike, ImageEmbedding.load(fitted / "image.json"), 0.5)


def test_it_travels_with_its_weights(home: Path, tmp_path: Path) -> None:
    pool, written = Pool.open(home / "pool"), load_embedding(home / "blend.json")
    (tmp_path / "version").mkdir()
    written.save(tmp_path / "version" / "embedding.json")
    weights = next((tmp_path / "version").glob("encoder-*.safetensors"))
    assert weights.samefile(home / weights.name)  # shared, not copied
    there = BlendEmbedding.load(tmp_path / "version" / "embedding.json")
    assert (there.kind, there.fingerprint, there.facts()) == ("blend", written.fingerprint, written.facts())
    expected = written.embed_hands(pool, slice(None))
    np.testing.assert_array_equal(there.embed_hands(pool, slice(None)), expected)
    again = embedding_from_facts(json.loads(json.dumps(written.facts())), [tmp_path, home])
    np.testing.assert_array_equal(again.embed_hands(pool, slice(None)), expected)
    asked = {"keypoints": pool.keypoints[:1], "crops": [pool.crop(int(pool.hand_ids[0]))]}
    assert there.embed(**asked).shape == (1, 9)  # type: ignore[arg-type]  # mypy takes the values for alike
    (home / weights.name).unlink()
    with pytest.raises(NotThereError, match=f"{weights.name}, are missing"):
        embedding_from_facts(written.facts(), [home]).embed(**asked)  # type: ignore[arg-type]  # as above


def test_the_fingerprint_tells_embeddings_apart(home: Path) -> None:
    pool, half = Pool.open(home / "pool"), blend(home, 0.5)
    other_pose = PoseEmbedding.fit(pool, 5)
    options = ImageFitOptions(components=6, image_size_px=CROP_PX, device="cpu")
    other_image = fit_image_embedding(pool, str(home / "hands.pt"), home / "other.json", options)
    blends = [
        half,
        blend(home, 0.50001),
        BlendEmbedding(other_pose, half.image, 0.5),
        BlendEmbedding(half.pose, other_image, 0.5),
    ]
    assert len({one.fingerprint for one in blends} | {half.pose.fingerprint, half.image.fingerprint}) == 6
    assert blend(home, 0.5).fingerprint == half.fingerprint


def changed(facts: Mapping[str, Any], part: str | None, change: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, **change} if part is None else {**facts, part: {**facts[part], **change}}


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (None, {"pose_share": 0.31}, "was altered"),
        (None, {"pose_share": 1.0}, "damaged"),
        (None, {"pose_share": "half"}, "damaged"),
        (None, {"pose": None}, "damaged"),
        (None, {"image": {}}, "version is missing"),
        (None, {"fingerprint": "0" * 16}, "was altered"),
        (None, {"version": 2}, "has format 2, this handsim reads up to 1; upgrade"),
        ("pose", {"normalisation": "none"}, "was altered"),
        ("pose", {"explained_variance": [1.0, 0.5, 0.2, 0.1]}, "was altered"),
        ("pose", {"explained_variance": [-1.0, 0.5, 0.2, 0.1]}, "damaged"),
        ("image", {"trunk_sha256": "0" * 64}, "was altered"),
        ("image", {"explained_variance": [5.0, 4.0, 3.0, 2.0, 1.0]}, "was altered"),
    ],
)
def test_altered_facts_are_refused(
    home: Path, part: str | None, change: dict[str, Any], message: str
) -> None:
    facts = changed(json.loads((home / "blend.json").read_text()), part, change)
    (home / "blend.json").write_text(json.dumps(facts))
    with pytest.raises(HandsimError, match=rf"^[^\n]*blend\.json[^\n]*{message}[^\n]*$"):
        load_embedding(home / "blend.json")
    with pytest.raises(HandsimError, match=f"the index's embedding.*{message}"):
        embedding_from_facts(facts, [home])


def test_it_fills_an_index_that_is_asked_by_hand_and_by_picture(home: Path) -> None:
    pool, blended = Pool.open(home / "pool"), load_embedding(home / "blend.json")
    vectors = blended.embed_hands(pool, slice(None))
    with open_catalog(home / "index") as catalog:
        info = catalog.build(pool, blended)
        assert (info.embedding_kind, info.dimension) == ("blend", 9)
        shutil.rmtree(home / "vectors")  # a version needs nothing of the home it was built in
        for weights in home.glob("encoder-*"):
            weights.unlink()
        with catalog.current() as version:
            assert version.embedding.fingerprint == info.embedding_fingerprint == blended.fingerprint
            found = version.search_hands(pool.hand_ids[:7], 3)
            apart = np.sqrt(squared_distances(vectors))[:7] + np.diag(np.full(HANDS, np.inf))[:7]
            np.testing.assert_allclose(found.distances, np.sort(apart, axis=1)[:, :3], rtol=1e-4)
            np.testing.assert_array_equal(found.hand_ids[:, 0], pool.hand_ids[apart.argmin(axis=1)])
            crop = pool.crop(int(pool.hand_ids[11]))
            query = version.embedding.embed(keypoints=pool.keypoints[11:12], crops=[crop])
            assert version.search(query, 1).hand_ids[0, 0] == pool.hand_ids[11]
            with pytest.raises(HandsimError, match="keypoints alone cannot be placed in it"):
                version.search_keypoints(pool.keypoints[:1])

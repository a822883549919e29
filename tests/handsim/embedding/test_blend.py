"""Poses and pictures in one embedding: distances add up by shares, and it fills an index.

What it shares with image embeddings is tested in `test_image`.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim import Pool
from handsim.embedding import BlendEmbedding, ImageEmbedding, PoseEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.errors import HandsimError
from index import open_catalog
from tests.handsim.builders import CROP_PX

HANDS = 40


def blend(home: Path, share: float) -> BlendEmbedding:
    image = load_embedding(home / "image.json")
    assert isinstance(image, ImageEmbedding)
    return BlendEmbedding(PoseEmbedding.load(home / "pose.json"), image, share)


def squared_distances(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    differences = vectors[:, None].astype(np.float64) - vectors[None]
    squared: NDArray[np.float64] = np.square(differences).sum(axis=2)
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
        distances = squared_distances(vectors) + np.diag(np.full(HANDS, np.inf))
        return [int(row) for row in distances.argmin(axis=1)]

    half = blend(fitted, 0.5)
    poses, pictures = (nearest(part.embed_hands(pool, slice(None))) for part in (half.pose, half.image))
    assert poses != pictures
    assert nearest(blend(fitted, 0.99999).embed_hands(pool, slice(None))) == poses
    assert nearest(blend(fitted, 0.00001).embed_hands(pool, slice(None))) == pictures


def test_explained_variance_is_that_of_the_whole(fitted: Path) -> None:
    blended = blend(fitted, 0.3)
    ratios = blended.explained_variance_ratio_
    parts = blended.pose.explained_variance_ratio_.sum(), blended.image.explained_variance_ratio_.sum()
    # Of the variance along the components, the pose has its share; the rest is what each part loses.
    assert ratios[:4].sum() / ratios.sum() == pytest.approx(0.3)
    assert min(parts) < ratios.sum() < max(parts)
    lost = 0.3 * (1 / parts[0] - 1) + 0.7 * (1 / parts[1] - 1)
    assert ratios.sum() == pytest.approx(1 / (1 + lost))
    assert (np.diff(ratios[:4]) <= 0).all()
    assert (np.diff(ratios[4:]) <= 0).all()


def test_it_needs_both_and_a_share_between(fitted: Path) -> None:
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


def test_a_part_without_variance_is_refused(fitted: Path) -> None:
    same = PoseEmbedding.fit(np.full((10, 21, 2), 0.5), 2, "centre")
    with pytest.raises(
        HandsimError, match="the variance of the poses in their embedding is 0; to be blended"
    ):
        BlendEmbedding(same, blend(fitted, 0.5).image, 0.5)


def test_different_blends_have_different_fingerprints(home: Path, checkpoint: Path) -> None:
    pool, half = Pool.open(home / "pool"), blend(home, 0.5)
    options = ImageFitOptions(components=6, image_size_px=CROP_PX, device="cpu")
    other_image = fit_image_embedding(pool, str(checkpoint), home / "other.json", options)
    blends = [
        half,
        blend(home, 0.50001),
        BlendEmbedding(PoseEmbedding.fit(pool, 5), half.image, 0.5),
        BlendEmbedding(half.pose, other_image, 0.5),
    ]
    assert len({one.fingerprint for one in blends} | {half.pose.fingerprint, half.image.fingerprint}) == 6
    assert blend(home, 0.5).fingerprint == half.fingerprint


def test_it_fills_an_index_that_answers_by_hand_and_by_picture(home: Path) -> None:
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
            distances = np.sqrt(squared_distances(vectors))[:7] + np.diag(np.full(HANDS, np.inf))[:7]
            np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :3], rtol=1e-4)
            np.testing.assert_array_equal(found.hand_ids[:, 0], pool.hand_ids[distances.argmin(axis=1)])
            crop = pool.crop(int(pool.hand_ids[11]))
            query = version.embedding.embed(keypoints=pool.keypoints[11:12], crops=[crop])
            assert version.search(query, 1).hand_ids[0, 0] == pool.hand_ids[11]
            with pytest.raises(HandsimError, match="keypoints alone cannot be placed in it"):
                version.search_keypoints(pool.keypoints[:1])

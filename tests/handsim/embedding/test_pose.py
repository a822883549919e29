"""The pose embedding: against scikit-learn, by what its normalisations remove, and as a file."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from handsim import PoseEmbedding
from handsim.embedding import NORMALISATIONS, Normalisation, normalise
from handsim.errors import HandsimError


def poses(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Correlated keypoints, as hands have."""
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(8, 63))
    return (0.5 + 0.05 * rng.normal(size=(count, 8)) @ basis).reshape(count, 21, 3).astype(np.float32)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("count", [50, 70_000])  # 70,000 takes two chunks
def test_it_is_exactly_the_pca_of_the_normalised_poses(normalisation: Normalisation, count: int) -> None:
    keypoints = poses(count)
    embedding = PoseEmbedding.fit(keypoints, 6, normalisation)
    flat = normalise(keypoints, normalisation)
    oracle = PCA(6, svd_solver="full").fit(flat)
    signs = np.sign((embedding.components_ * oracle.components_).sum(axis=1))
    np.testing.assert_allclose(embedding.components_, oracle.components_ * signs[:, None], atol=1e-6)
    np.testing.assert_allclose(
        embedding.explained_variance_ratio_, oracle.explained_variance_ratio_, rtol=1e-6
    )
    np.testing.assert_allclose(embedding.transform(keypoints), oracle.transform(flat) * signs, atol=1e-5)


def test_signs_order_of_hands_and_depth_do_not_matter() -> None:
    keypoints = poses(500)
    one, other = PoseEmbedding.fit(keypoints), PoseEmbedding.fit(keypoints[::-1])
    np.testing.assert_allclose(one.components_[:8], other.components_[:8], atol=1e-7)
    largest = np.abs(one.components_).argmax(axis=1)
    assert (one.components_[np.arange(14), largest] > 0).all()
    np.testing.assert_array_equal(one.transform(keypoints), one.transform(keypoints[..., :2]))


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.2, 5))
def test_normalisations_take_out_what_they_say(dx: float, dy: float, scale: float) -> None:
    keypoints = poses(3).astype(np.float64)
    moved = keypoints.copy()
    moved[..., :2] += [dx, dy]
    scaled = moved.copy()
    scaled[..., :2] *= scale
    np.testing.assert_allclose(normalise(moved, "centre"), normalise(keypoints, "centre"), atol=1e-9)
    same = normalise(keypoints, "centre-scale")
    np.testing.assert_allclose(normalise(scaled, "centre-scale"), same, atol=1e-9)
    assert (normalise(keypoints, "none") == keypoints[..., :2].reshape(3, 42)).all()


def test_a_hand_without_extent_has_no_shape() -> None:
    assert np.abs(normalise(np.full((1, 21, 2), 0.3), "centre-scale")).max() < 1e-9


def test_json_brings_back_every_bit(tmp_path: Path) -> None:
    embedding = PoseEmbedding.fit(poses(300), 5, "centre-scale")
    embedding.save(tmp_path / "embedding.json")
    again = PoseEmbedding.load(tmp_path / "embedding.json")
    assert again.fingerprint == embedding.fingerprint
    np.testing.assert_array_equal(again.transform(poses(10)), embedding.transform(poses(10)))
    assert json.loads((tmp_path / "embedding.json").read_text())["fitted_hands"] == 300


def test_different_embeddings_have_different_fingerprints() -> None:
    keypoints = poses(300)
    fits = [PoseEmbedding.fit(keypoints, size, kind) for size in (5, 6) for kind in NORMALISATIONS]
    assert len({embedding.fingerprint for embedding in fits}) == 6


def test_an_altered_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "embedding.json"
    PoseEmbedding.fit(poses(300), 5).save(path)
    metadata = json.loads(path.read_text())
    metadata["mean"][3] += 1e-9
    path.write_text(json.dumps(metadata))
    with pytest.raises(HandsimError, match="was altered"):
        PoseEmbedding.load(path)
    for text in ("", "{}", "[1, 2]", '{"version": 1, "fingerprint": "x", "mean": "y"}'):
        path.write_text(text)
        with pytest.raises(HandsimError, match="damaged"):
            PoseEmbedding.load(path)
    with pytest.raises(HandsimError, match="handsim embedding fit"):
        PoseEmbedding.load(tmp_path / "nothing.json")


def test_bad_input_is_named() -> None:
    with pytest.raises(HandsimError, match="components is 43"):
        PoseEmbedding.fit(poses(100), 43)
    with pytest.raises(HandsimError, match="10 hands are too few to fit 14"):
        PoseEmbedding.fit(poses(10))
    with pytest.raises(HandsimError, match="unknown normalisation 'whiten'"):
        PoseEmbedding.fit(poses(100), 5, "whiten")  # type: ignore[arg-type]  # what a user may type
    embedding = PoseEmbedding.fit(poses(100))
    with pytest.raises(HandsimError, match=r"\[2, 20, 3\]"):
        embedding.transform(np.zeros((2, 20, 3)))
    broken = poses(3)
    broken[1, 7, 0] = np.nan
    with pytest.raises(HandsimError, match="hand 1, joint 7"):
        embedding.transform(broken)

"""Hands with unlabelled joints: refused by an embedding, or completed by the conditional mean."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import Pool, PoolWriter
from handsim.embedding import (
    LEAST_LABELLED,
    NORMALISATIONS,
    Normalisation,
    PoseEmbedding,
    can_embed,
    load_embedding,
    normalise,
)
from handsim.errors import HandsimError
from handsim.synthetic import synthesise_poses
from tests.handsim.builders import make_hand, make_partial_hand

HANDS = 600


@pytest.fixture(scope="module")
def poses() -> NDArray[np.float64]:
    return synthesise_poses(HANDS // 5, 5, seed=3).keypoints.astype(np.float64)


def without_some(poses: NDArray[np.floating], most: int = 8) -> NDArray[np.floating]:
    """The poses, each without 1 to ``most`` joints."""
    random = np.random.default_rng(1)
    partly = poses.copy()
    for pose in partly:
        pose[random.choice(21, random.integers(1, most + 1), replace=False)] = np.nan
    return partly


def fit(poses: NDArray[np.floating], normalisation: Normalisation = "centre-scale") -> PoseEmbedding:
    return PoseEmbedding.fit(poses, normalisation=normalisation, unlabelled="complete")


def covariance(embedding: PoseEmbedding) -> NDArray[np.float64]:
    """That of probabilistic PCA, written out (Tipping and Bishop 1999, equations 7 and 8)."""
    variances, count = embedding.explained_variance_, embedding.dimension
    noise = (embedding.total_variance_ - variances.sum()) / (42 - count)
    loadings = embedding.components_.T @ np.diag(np.sqrt(variances - noise))
    return np.asarray(loadings @ loadings.T + noise * np.eye(42))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_unlabelled_joints_are_where_the_labelled_ones_let_expect_them(
    poses: NDArray[np.float64], normalisation: Normalisation
) -> None:
    embedding, partly = fit(poses, normalisation), without_some(poses[:40])
    completed = embedding.complete(partly)
    is_known = np.isfinite(partly[..., 0])
    np.testing.assert_array_equal(completed[is_known], partly[..., :2][is_known])
    spread, mean = covariance(embedding), embedding.mean_
    for pose, known in zip(normalise(completed, normalisation), is_known.repeat(2, axis=1), strict=True):
        gain = spread[np.ix_(~known, known)] @ np.linalg.inv(spread[np.ix_(known, known)])
        np.testing.assert_allclose(pose[~known], mean[~known] + gain @ (pose[known] - mean[known]), atol=1e-4)


def test_a_completed_hand_lies_near_itself_and_what_it_becomes_depends_on_no_other(
    poses: NDArray[np.float64],
) -> None:
    embedding = fit(poses[HANDS // 2 :])
    whole, partly = poses[: HANDS // 2], without_some(poses[: HANDS // 2], most=4)
    vectors, true = embedding.transform(partly), embedding.transform(whole)
    to_itself, to_another = (
        np.linalg.norm(each - true, axis=1) for each in (vectors, np.roll(true, 7, axis=0))
    )
    assert np.median(to_itself) < 0.1 * np.median(to_another)
    np.testing.assert_array_equal(embedding.transform(partly[7:9]), vectors[7:9])


def test_partly_labelled_hands_are_refused_with_the_remedy(poses: NDArray[np.float64]) -> None:
    partly = poses[:3].copy()
    partly[1, 7] = np.nan
    refusing, completing = PoseEmbedding.fit(poses), fit(poses)
    assert can_embed(refusing.unlabelled, partly).tolist() == [True, False, True]
    with pytest.raises(
        HandsimError, match=r"joint 7 \(index_dip\) of hand 1 is not labelled \(NaN\).*--unlabelled co"
    ):
        refusing.transform(partly)
    partly[2, : 21 - LEAST_LABELLED] = np.nan
    assert can_embed(completing.unlabelled, partly).all()
    partly[2, 20] = np.nan
    with pytest.raises(HandsimError, match="hand 2 has 12 labelled joints; it takes 13 of 21"):
        completing.transform(partly)


def test_partly_labelled_hands_play_no_part_in_a_fit(tmp_path: Path, poses: NDArray[np.float64]) -> None:
    mixed = np.concatenate([without_some(poses[:50]), poses])
    assert PoseEmbedding.fit(mixed).fingerprint == PoseEmbedding.fit(poses).fingerprint
    assert PoseEmbedding.fit(mixed).fitted_hands == HANDS
    with PoolWriter(tmp_path / "pool") as writer:
        for number in range(20):
            writer.add(make_partial_hand(number, [3]) if number < 8 else make_hand(number))
    with pytest.raises(HandsimError, match=r"12 hands \(beside 8 with unlabelled joints\) are too few"):
        PoseEmbedding.fit(Pool.open(tmp_path / "pool"))


def test_the_choice_is_part_of_the_embedding_and_older_files_refuse(
    tmp_path: Path, poses: NDArray[np.float64]
) -> None:
    refusing, completing = PoseEmbedding.fit(poses), fit(poses)
    assert refusing.fingerprint != completing.fingerprint
    other = replace(completing, explained_variance_=completing.explained_variance_ * 0.9)
    assert other.fingerprint != completing.fingerprint  # variances decide where a joint is expected
    for embedding, version in ((refusing, 1), (completing, 2)):
        embedding.save(tmp_path / "embedding.json")
        assert json.loads((tmp_path / "embedding.json").read_text())["version"] == version
        loaded = load_embedding(tmp_path / "embedding.json")
        assert loaded.fingerprint == embedding.fingerprint
        assert loaded.unlabelled == embedding.unlabelled
    with pytest.raises(HandsimError, match="'guess'; choose refuse or complete"):
        PoseEmbedding.fit(poses, unlabelled="guess")  # type: ignore[arg-type]  # as from a command line

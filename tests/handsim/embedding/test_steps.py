"""Two steps beyond the paper: depth counts, and hands are turned upright."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim import HandsimError, Pool, PoolWriter, PoseEmbedding
from handsim.embedding import (
    NORMALISATIONS,
    Normalisation,
    can_embed_hands,
    load_embedding,
    normalise,
    upright_turns_deg,
)
from handsim.geometry import turn_points
from handsim.synthetic import synthesise_poses
from tests.handsim.builders import make_hand


@pytest.fixture(scope="module")
def poses() -> NDArray[np.float32]:
    return synthesise_poses(200, 3, seed=1).keypoints


@given(st.floats(-179, 179), st.sampled_from(NORMALISATIONS[1:]))
def test_a_hand_up_to_turn_is_the_same_whichever_way_it_is_held(
    angle: float, normalisation: Normalisation
) -> None:
    hands = synthesise_poses(4, 2, seed=2).keypoints.astype(np.float64)
    turned = turn_points(hands, np.full(8, angle))
    for depth in (False, True):
        same, other = (
            normalise(each, normalisation, depth=depth, up_to_turn=True) for each in (hands, turned)
        )
        np.testing.assert_allclose(other, same, atol=1e-9)
    apart = (upright_turns_deg(turned) - upright_turns_deg(hands) - angle + 180) % 360 - 180
    np.testing.assert_allclose(apart, 0, atol=1e-6)


def test_an_upright_hand_has_its_mean_joint_above_the_wrist(poses: NDArray[np.float32]) -> None:
    upright = turn_points(poses, -upright_turns_deg(poses))
    mean = upright[..., :2].mean(axis=1) - upright[:, 0, :2]
    np.testing.assert_allclose(mean[:, 0], 0, atol=1e-6)
    assert (mean[:, 1] < 0).all()  # y points down


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_with_depth_z_follows_x_and_y_and_takes_their_scale(
    poses: NDArray[np.float32], normalisation: Normalisation
) -> None:
    flat = normalise(poses, normalisation, depth=True).reshape(-1, 21, 3)
    np.testing.assert_array_equal(flat[..., :2].reshape(-1, 42), normalise(poses, normalisation))
    z = poses[..., 2].astype(np.float64)
    if normalisation != "none":
        z = z - z.mean(axis=1, keepdims=True)
    if normalisation == "centre-scale":
        centred = poses[..., :2] - poses[..., :2].mean(axis=1, keepdims=True, dtype=np.float64)
        z = z / np.sqrt((centred**2).sum(axis=2).mean(axis=1))[:, None]
    np.testing.assert_allclose(flat[..., 2], z, atol=1e-6)


def test_hands_that_differ_in_depth_alone_are_apart_only_where_it_counts(poses: NDArray[np.float32]) -> None:
    mirrored = poses * np.array([1, 1, -1], dtype=np.float32)
    seen, deep = PoseEmbedding.fit(poses), PoseEmbedding.fit(poses, depth=True)
    np.testing.assert_array_equal(seen.transform(mirrored), seen.transform(poses))
    assert np.linalg.norm(deep.transform(mirrored) - deep.transform(poses), axis=1).min() > 0.05


def test_a_query_without_depth_gets_the_one_expected_of_x_and_y() -> None:
    # z is a linear function of x and y but for noise, which least squares finds, too.
    random = np.random.default_rng(0)
    places = random.normal(size=(4000, 5)) @ random.normal(size=(5, 42))
    depth = places @ random.normal(size=(42, 21)) * 0.2 + random.normal(scale=0.01, size=(4000, 21))
    hands = np.concatenate([places.reshape(-1, 21, 2), depth[..., None]], axis=2)
    embedding = PoseEmbedding.fit(hands, 26, "none", depth=True)
    true, expected = embedding.transform(hands[:50]), embedding.transform(hands[:50, :, :2])
    blind = embedding.transform(hands * [1, 1, 1e-12])
    np.testing.assert_array_equal(embedding.transform(hands[:50] * [1, 1, 0]), expected)
    assert np.linalg.norm(expected - true, axis=1).mean() < 0.1
    assert np.linalg.norm(blind[:50] - true, axis=1).mean() > 2


def test_hands_of_a_pool_without_depth_have_no_vector_and_play_no_part_in_the_fit(
    tmp_path: Path, poses: NDArray[np.float32]
) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        for number in range(40):
            flat = poses[number] * np.array([1, 1, number % 4 > 0], dtype=np.float32)
            writer.add(make_hand(number, keypoints=flat))
    pool = Pool.open(tmp_path / "pool")
    deep = PoseEmbedding.fit(pool, 5, depth=True)
    assert deep.fitted_hands == 30
    assert deep.fingerprint == PoseEmbedding.fit(poses[:40][np.arange(40) % 4 > 0], 5, depth=True).fingerprint
    assert can_embed_hands(deep, pool).tolist() == [number % 4 > 0 for number in range(40)]
    assert can_embed_hands(PoseEmbedding.fit(pool, 5), pool).all()
    with pytest.raises(HandsimError, match=r"30 hands \(beside 10 without depth\) are too few to fit 31"):
        PoseEmbedding.fit(pool, 31, depth=True)


def test_only_what_has_a_step_is_of_the_new_format_and_it_comes_back(
    tmp_path: Path, poses: NDArray[np.float32]
) -> None:
    plain = PoseEmbedding.fit(poses)
    assert plain.to_json()["version"] == 1
    assert not {"depth", "up_to_turn"} & plain.to_json().keys()
    fingerprints = {plain.fingerprint}
    for depth, up_to_turn in ((True, False), (False, True), (True, True)):
        embedding = PoseEmbedding.fit(poses, depth=depth, up_to_turn=up_to_turn)
        embedding.save(tmp_path / "embedding.json")
        metadata = json.loads((tmp_path / "embedding.json").read_text())
        assert metadata["version"] == 3
        assert (metadata.get("depth"), metadata.get("up_to_turn")) == (depth or None, up_to_turn or None)
        again = load_embedding(tmp_path / "embedding.json")
        assert (again.depth, again.up_to_turn) == (depth, up_to_turn)
        np.testing.assert_array_equal(again.embed(keypoints=poses), embedding.embed(keypoints=poses))
        fingerprints.add(embedding.fingerprint)
    assert len(fingerprints) == 4
    assert replace(plain, up_to_turn=True).fingerprint != plain.fingerprint


def test_what_does_not_go_together_is_refused(poses: NDArray[np.float32]) -> None:
    with pytest.raises(HandsimError, match=r"components is 64; 21 joints in 2\.5D have 1 to 63"):
        PoseEmbedding.fit(poses, 64, depth=True)
    with pytest.raises(HandsimError, match="leave depth and up-to-turn out"):
        PoseEmbedding.fit(poses, unlabelled="complete", up_to_turn=True)

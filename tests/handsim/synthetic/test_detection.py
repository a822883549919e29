"""Keypoints as a detector gives them, in the pool."""

from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from handsim.synthetic.generate import HIDDEN_FACTOR, as_detected

WORLD = SyntheticConfig(videos=3, hands_per_video=2, size_px=32, seed=5)


def _pool(path: Path, noise: float, world: SyntheticConfig = WORLD) -> Pool:
    synthesise_pool(path, world, keypoint_noise=noise)
    return Pool.open(path)


def test_noise_has_the_size_that_is_asked_for() -> None:
    """In sizes of the box, which the crop is `CROP_ENLARGEMENT` times as long as."""
    visible = np.arange(20_000 * 21).reshape(-1, 21) % 2 == 0
    exact = np.full((20_000, 21, 3), 0.5, dtype=np.float32)
    moved = as_detected(np.random.default_rng(1), exact, visible, 0.02)
    assert moved.dtype == np.float32
    off = (moved - exact) * CROP_ENLARGEMENT
    assert np.allclose(off[visible].std(axis=0), 0.02, rtol=0.02)
    assert np.allclose(off[~visible].std(axis=0), 0.02 * HIDDEN_FACTOR, rtol=0.02)
    assert np.abs(off.mean(axis=(0, 1))).max() < 1e-3


def test_a_pool_with_noise_is_that_world_with_other_keypoints(tmp_path: Path) -> None:
    exact, noisy = _pool(tmp_path / "exact", 0.0), _pool(tmp_path / "noisy", 0.03)
    again, more = _pool(tmp_path / "again", 0.03), _pool(tmp_path / "more", 0.06)
    assert np.array_equal(noisy.keypoints, again.keypoints)
    assert np.array_equal(noisy.hand_ids, again.hand_ids)
    off, further = noisy.keypoints - exact.keypoints, more.keypoints - exact.keypoints
    assert 0.01 < off.std() < 0.1
    assert np.allclose(further, 2 * off, atol=1e-5)
    assert not np.allclose(off[0], off[1])
    for mine, theirs in zip(noisy.hand_ids, exact.hand_ids, strict=True):
        assert np.array_equal(noisy.crop(int(mine)), exact.crop(int(theirs)))
    assert not set(noisy.hand_ids.tolist()) & set(exact.hand_ids.tolist())


def test_more_videos_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    first = _pool(tmp_path / "pool", 0.03, SyntheticConfig(videos=2, hands_per_video=2, size_px=32, seed=5))
    before = {int(hand): points for hand, points in zip(first.hand_ids, first.keypoints, strict=True)}
    after = _pool(tmp_path / "pool", 0.03)
    assert len(after) == 6
    kept = [row for row, hand in enumerate(after.hand_ids) if int(hand) in before]
    assert len(kept) == 4
    assert all(np.array_equal(after.keypoints[row], before[int(after.hand_ids[row])]) for row in kept)


@pytest.mark.parametrize("noise", [-0.01, 0.6, float("nan")])
def test_impossible_noise_is_told(tmp_path: Path, noise: float) -> None:
    with pytest.raises(HandsimError, match=r"keypoint_noise is .*from 0 \(exact\) to 0.5"):
        synthesise_pool(tmp_path / "pool", WORLD, keypoint_noise=noise)
    assert not (tmp_path / "pool").exists()

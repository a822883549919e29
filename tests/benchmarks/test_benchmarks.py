"""What the benchmarks compute, without what they measure."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.browser.serve import RunningServer
from benchmarks import browser
from benchmarks.linear_probe import (
    Hands,
    errors_3d,
    joint_error,
    mean_error_mm,
    mean_pose_error,
    ridge_error,
    root_relative,
)
from benchmarks.pretrain import time_spent
from benchmarks.probe import order
from handsim.home import Home
from tests.handsim.builders import add_hands


def test_the_browser_is_measured_with_the_hands_of_the_home_that_was_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    add_hands(Home(tmp_path).pool, range(3), crops=False)
    monkeypatch.setattr(browser, "_OPENED_AFTER_S", 0)
    monkeypatch.setattr(browser, "chromium", nullcontext)
    monkeypatch.setattr(browser, "run_server", lambda home: nullcontext(RunningServer("http://here", 1)))
    monkeypatch.setattr(browser, "first_page_s", lambda *asked: 0.5)
    monkeypatch.setattr(browser, "measure", lambda *asked: {"clicks": asked[-1]})
    monkeypatch.setattr(sys, "argv", ["browser", "--home", str(tmp_path), "--clicks", "7"])
    browser.main()
    report = json.loads(capsys.readouterr().out)
    assert (report["hands"], report["clicks"], report["first_page_as_soon_as_up_s"]) == (3, 7, 0.5)


def hands(count: int, seed: int) -> Hands:
    random = np.random.default_rng(seed)
    keypoints = random.random((count, 21, 3), dtype=np.float32)
    videos = np.repeat([f"{video}" for video in range(count // 4)], 4)
    return Hands(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), root_relative(keypoints), videos)


def test_poses_are_relative_to_the_wrist_and_leave_it_out() -> None:
    keypoints = np.random.default_rng(0).random((3, 21, 3), dtype=np.float32)
    poses = root_relative(keypoints).reshape(3, 20, 2)
    np.testing.assert_allclose(poses, keypoints[:, 1:, :2] - keypoints[:, :1, :2], atol=1e-6)


def test_an_error_is_the_mean_distance_in_percent() -> None:
    off = np.zeros((2, 20, 2))
    off[0] = [0.3, 0.4]
    assert joint_error(off.reshape(2, 40), np.zeros((2, 40))) == pytest.approx(25)


def test_features_that_hold_the_pose_predict_it_and_noise_predicts_the_mean() -> None:
    train, test = hands(400, 1), hands(80, 2)
    mix = np.random.default_rng(3).standard_normal((40, 64))
    known, _ = ridge_error(train.poses @ mix, train, test.poses @ mix, test.poses)
    assert known < 0.1
    noise = np.random.default_rng(4)
    unknown, alpha = ridge_error(
        noise.standard_normal((400, 64)), train, noise.standard_normal((80, 64)), test.poses
    )
    assert alpha > 1
    assert unknown == pytest.approx(mean_pose_error(train, test), rel=0.05)


def test_features_that_hold_the_joints_in_3d_predict_and_find_them() -> None:
    random = np.random.default_rng(5)
    joints = random.normal(scale=40, size=(400, 21, 3))
    joints -= joints[:, :1]
    train, videos = joints.reshape(400, 63), np.repeat([f"{video}" for video in range(100)], 4)
    mix = random.standard_normal((63, 80))
    test = train[::7] * 1.0001
    found = errors_3d(train @ mix, train, videos, test @ mix, test)
    assert max(found.values()) < 0.5
    nothing = errors_3d(
        random.standard_normal((400, 80)), train, videos, random.standard_normal((58, 80)), test
    )
    mean = mean_error_mm(np.broadcast_to(train.mean(axis=0), test.shape), test)
    assert nothing["error_mm"] == pytest.approx(mean, rel=0.1)
    assert nothing["nearest_mm"] > nothing["error_mm"] > nothing["nearest_pa_mm"] / 2
    turned = errors_3d(
        train @ mix, train.reshape(-1, 21, 3)[..., [1, 2, 0]].reshape(400, 63), videos, test @ mix, test
    )
    assert turned["nearest_pa_mm"] < 0.5 < turned["nearest_mm"]


def test_the_order_is_counted_seed_by_seed() -> None:
    errors = {
        1: {"random": 30.0, "simclr": 20.0, "peclr": 18.0, "simhand": 15.0, "simhand_no_weights": 16.0},
        2: {"random": 30.0, "simclr": 20.0, "peclr": 14.0, "simhand": 15.0, "simhand_no_weights": 16.0},
    }
    results = [
        {"method": method, "seed": seed, "error": error}
        for seed, some in errors.items()
        for method, error in some.items()
    ]
    found = order(results, "error")
    assert found["simhand < peclr"] == "1 of 2"
    assert found["simhand < simclr"] == "2 of 2"
    assert found["simclr < random"] == "2 of 2"
    assert found["all in every seed"] is False
    assert order([one for one in results if one["seed"] == 1], "error")["all in every seed"] is True
    assert order(results[:2], "error")["all in every seed"] is None


def test_time_is_summed_over_steps_of_different_length() -> None:
    lines = [
        {"images_per_s": 100.0, "data_wait": 0.0, "index_wait": 0.0},
        {"images_per_s": 25.0, "data_wait": 0.5, "index_wait": 0.25},
    ]
    # 1 s and 4 s for 100 views each.
    expected = {"images_per_s": 40.0, "median_step_s": 2.5, "data_wait": 0.4, "index_wait": 0.2}
    assert time_spent(lines, 100) == expected

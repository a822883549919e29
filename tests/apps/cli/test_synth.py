"""``handsim synth``: worlds, keypoint noise, layouts."""

from pathlib import Path

import pytest

from apps.cli import main
from apps.cli.synth import LAYOUTS
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig
from tests.apps.commands import run_ok, run_refused
from training.datasets.open_dataset import DATASETS, open_dataset
from training.datasets.synthetic import WORLDS


def test_every_dataset_has_a_layout() -> None:
    assert set(LAYOUTS) == set(DATASETS)


def test_a_set_is_written_and_can_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "hands"
    words = ("--videos", "3", "--hands-per-video", "2", "--size", "64", "--seed", "4", "--out", str(root))
    printed = run_ok(capsys, "synth", "--layout", "synthetic", *words)
    assert f"next: handsim dataset check synthetic {root}" in printed
    assert open_dataset("synthetic", root, "test")[1].image.shape == (64, 64, 3)


def test_the_command_line_comes_after_the_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = tmp_path / "world.yaml"
    world.write_text("{videos: 9, hands_per_video: 2, size_px: 32, motion: {left_share: 1.0}}")
    words = ("--world", str(world), "--videos", "2", "--keypoint-noise", "0.02", "--people.count", "1")
    assert "4 hands" in run_ok(capsys, "synth", *words, "--home", str(tmp_path))
    pool = Pool.open(tmp_path / "pool")
    assert [pool.hand(int(hand)).side for hand in pool.hand_ids] == ["left"] * 4


@pytest.mark.parametrize("name", WORLDS.shipped())
def test_every_world_is_read(name: str) -> None:
    assert WORLDS.read(name) != SyntheticConfig()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_too_few_videos_are_told(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which also shows that each layout has its writer."""
    words = ("synth", "--layout", layout, "--out", str(tmp_path / "set"), "--videos", "2")
    assert f"videos is 2; the layout of {layout} needs" in run_refused(capsys, *words)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layout", "freihand"), "--layout and --out go together"),
        (("--out", "somewhere"), "--layout and --out go together"),
        (("--layout", "dexycb", "--out", "set", "--size", "64"), "--size 64 is not for --layout dexycb"),
        (("--layout", "synthetic", "--out", "set", "--size", "0"), "size_px is 0; it must be"),
        (("--layout", "synthetic", "--out", "set", "--keypoint-noise", "0.1"), "labels are exact"),
        (("--keypoint-noise", "0.7"), "keypoint_noise is 0.7"),
        (("--world", "in_the_wood"), "there is no world in_the_wood; did you mean in_the_wild?"),
        (("--scene.passing_shar", "0.1"), "did you mean scene.passing_share?"),
        (("--scene.passing_share", "2"), "passing_share is 2.0; a share lies between 0 and 1"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in run_refused(capsys, "synth", *words)


def test_an_unknown_layout_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["synth", "--layout", "freihnad", "--out", "set"])
    assert "invalid choice: 'freihnad'" in capsys.readouterr().err

"""``handsim synth --layout``."""

from pathlib import Path

import pytest

from apps.cli import main
from apps.commands.synth import LAYOUTS
from tests.apps.talk import refused, said
from training.datasets.opening import DATASETS, open_dataset


def test_every_dataset_has_a_layout() -> None:
    assert set(LAYOUTS) == set(DATASETS)


def test_a_set_is_written_and_can_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "hands"
    words = ("--videos", "3", "--hands-per-video", "2", "--size", "64", "--seed", "4", "--out", str(root))
    printed = said(capsys, "synth", "--layout", "synthetic", *words)
    assert f"next: handsim dataset check synthetic {root}" in printed
    assert open_dataset("synthetic", root, "test")[1].image.shape == (64, 64, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_too_few_videos_are_told(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which also shows that each layout has its writer."""
    words = ("synth", "--layout", layout, "--out", str(tmp_path / "set"), "--videos", "2")
    assert f"videos is 2; the layout of {layout} needs" in refused(capsys, *words)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layout", "freihand"), "--layout and --out go together"),
        (("--out", "somewhere"), "--layout and --out go together"),
        (("--layout", "dexycb", "--out", "set", "--size", "64"), "--size 64 is not for --layout dexycb"),
        (("--layout", "synthetic", "--out", "set", "--size", "0"), "size_px is 0; it must be"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "synth", *words)


def test_an_unknown_layout_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["synth", "--layout", "freihnad", "--out", "set"])
    assert "invalid choice: 'freihnad'" in capsys.readouterr().err

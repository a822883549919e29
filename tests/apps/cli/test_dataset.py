"""`handsim dataset check` as people run it, and its figure."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.cli import main
from apps.cli.figures import plot_dataset_samples, save_figure
from handsim.skeleton import JOINT_COUNT
from handsim.synthetic import PeopleConfig, SyntheticConfig
from tests.apps.commands import run_ok, run_refused
from training.datasets.record import LabelledHand
from training.datasets.synthetic import LABELS_FILE, SyntheticHands, write_synthetic


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of 40 hands."""
    root = tmp_path_factory.mktemp("labelled") / "hands"
    write_synthetic(root, SyntheticConfig(videos=10, hands_per_video=4, size_px=64, people=PeopleConfig(5)))
    return root


def test_a_sound_set(hands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_ok(capsys, "--home", tmp_path, "dataset", "check", "synthetic", hands)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["split", "hands", "not", "annotated", "official"]
    assert sum(int(line[1]) for line in lines if line and line[0] in ("train", "val", "test")) == 40
    assert "joint order     passed" in out
    assert "failed" not in out
    written = tmp_path / "checks" / "synthetic"
    report = json.loads((written / "check.json").read_text())
    assert report["passed"] is True
    assert [split["split"] for split in report["splits"]] == ["train", "val", "test"]
    assert {finding["verdict"] for finding in report["findings"]} == {"passed", "skipped"}
    assert len(report["samples"]) == 20
    with Image.open(written / "samples.png") as figure:
        assert min(figure.size) > 1000


def test_a_broken_set(hands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Path(shutil.copytree(hands, tmp_path / "broken"))
    with np.load(broken / LABELS_FILE) as stored:
        labels = {name: stored[name] for name in stored.files}
    labels["joints_3d_mm"] = labels["joints_3d_mm"] / 1000
    np.savez(broken / LABELS_FILE, **labels)
    out = tmp_path / "out"
    command = ["dataset", "check", "synthetic", str(broken), "--split", "train", "--out", str(out)]
    assert main(command) == 2
    said_so = capsys.readouterr().out
    assert "units           failed   wrist to middle_mcp is 0.0" in said_so
    assert "0.001 times as large" in said_so
    report = json.loads((out / "check.json").read_text())
    assert report["passed"] is False
    assert [split["split"] for split in report["splits"]] == ["train"]
    failed = [finding["check"] for finding in report["findings"] if finding["verdict"] == "failed"]
    assert failed == ["distance", "units"]


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "samples.png").write_bytes(b"of a set that was there")
    assert main(["dataset", "check", "dexycb", str(tmp_path / "none"), "--out", str(out)]) == 2
    said_so = capsys.readouterr().out
    assert "is not a folder; give the one that dexycb was extracted in (and 2 more splits)" in said_so
    assert json.loads((out / "check.json").read_text())["splits"] == []
    assert not (out / "samples.png").exists()


def test_bad_input_in_one_line(hands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check: list[str | Path] = ["--home", tmp_path, "dataset", "check"]
    cases: dict[str, list[str | Path]] = {
        "no dataset synthetics; did you mean synthetic?": ["synthetics", hands],
        "no split s0; it has train, val, test": ["synthetic", hands, "--split", "s0"],
        "labels is 0; it must be at least 1": ["synthetic", hands, "--labels", "0"],
    }
    for says, arguments in cases.items():
        assert says in run_refused(capsys, *check, *arguments)
    assert not (tmp_path / "checks").exists()


def drawn(samples: list[LabelledHand], path: Path) -> np.ndarray:
    save_figure(plot_dataset_samples(samples), path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_what_is_not_annotated_is_not_drawn(hands: Path, tmp_path: Path) -> None:
    whole = SyntheticHands(hands, "train")[0]
    valid = np.zeros(JOINT_COUNT, dtype=np.bool_)
    valid[[0, 1, 2]] = True
    part = replace(
        whole,
        valid=valid,
        keypoints_2d_px=np.where(valid[:, None], whole.keypoints_2d_px, np.nan),
        joints_3d_mm=np.where(valid[:, None], whole.joints_3d_mm, np.nan),
    )
    nothing = replace(
        whole,
        valid=np.zeros_like(valid),
        keypoints_2d_px=np.full_like(whole.keypoints_2d_px, np.nan),
        joints_3d_mm=np.full_like(whole.joints_3d_mm, np.nan),
    )

    def purple(sample: LabelledHand) -> int:
        """Pixels in the colour of the little finger."""
        picture = drawn([sample], tmp_path / "one.png")
        return int((np.abs(picture - [165, 90, 210]).max(axis=2) < 12).sum())

    def red(sample: LabelledHand) -> int:
        picture = drawn([sample], tmp_path / "one.png")
        return int((np.abs(picture - [230, 75, 60]).max(axis=2) < 12).sum())

    assert purple(whole) > 100
    assert purple(part) == purple(nothing) == 0
    assert red(part) > 100
    assert red(nothing) == 0


def test_joints_on_one_spot_and_no_samples_can_be_drawn(hands: Path, tmp_path: Path) -> None:
    whole = SyntheticHands(hands, "train")[0]
    spot = replace(
        whole,
        keypoints_2d_px=np.full_like(whole.keypoints_2d_px, 20),
        joints_3d_mm=np.full_like(whole.joints_3d_mm, 500),
    )
    assert drawn([spot] * 6, tmp_path / "six.png").shape[0] > drawn([spot], tmp_path / "one.png").shape[0]
    assert drawn([], tmp_path / "none.png").size > 0

"""``handsim synth`` and ``handsim dataset check``: worlds, layouts, reports and figures."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from apps.cli import main
from apps.cli.figures import plot_dataset_samples
from apps.cli.synth import LAYOUTS
from handsim.pool import Pool
from handsim.skeleton import JOINT_COUNT, joint_colour
from handsim.synthetic import SyntheticConfig
from tests.apps.commands import Capture, run_ok, run_refused
from training.datasets.freihand import FreiHAND
from training.datasets.open_dataset import DATASETS
from training.datasets.synthetic import LABELS_FILE, WORLDS, SyntheticHands


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of 12 hands, written by the command."""
    root = tmp_path_factory.mktemp("labelled") / "hands"
    words = ["--videos", "6", "--hands-per-video", "2", "--size", "64", "--seed", "4", "--out", str(root)]
    assert main(["synth", "--layout", "synthetic", *words]) == 0
    return root


@pytest.mark.slow
def test_a_sound_set_passes(hands: Path, tmp_path: Path, capsys: Capture) -> None:
    out = run_ok(capsys, "--home", tmp_path, "dataset", "check", "synthetic", hands)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["split", "hands", "not", "annotated", "official"]
    assert sum(int(line[1]) for line in lines if line and line[0] in ("train", "val", "test")) == 12
    assert "joint order     passed" in out
    assert "failed" not in out
    folder = tmp_path / "checks" / "synthetic"
    report = json.loads((folder / "check.json").read_text())
    assert report["passed"] is True
    assert [split["split"] for split in report["splits"]] == ["train", "val", "test"]
    assert len(report["samples"]) == 12
    with Image.open(folder / "samples.png") as figure:
        assert min(figure.size) > 500


@pytest.mark.slow
def test_the_detector_names_labels_of_other_pictures(
    tmp_path: Path, capsys: Capture, model_path: Path
) -> None:
    """The two most different of 31 hands have each other's labels, which agree with themselves."""
    root = tmp_path / "freihand"
    words = ["--videos", "40", "--hands-per-video", "1", "--seed", "7", "--out", str(root)]
    assert main(["synth", "--layout", "freihand", *words]) == 0
    split = FreiHAND(root, "train_v0")
    joints = np.stack([split.label(row).joints_3d_mm for row in range(len(split))])[..., :2]
    joints -= joints.mean(axis=1, keepdims=True)
    apart = np.linalg.norm(joints[:, None] - joints, axis=3).mean(axis=2)
    swapped = [split.label(row).sample_id for row in np.unravel_index(apart.argmax(), apart.shape)]
    for name in ("K", "xyz"):
        path = root / f"training_{name}.json"
        labels = json.loads(path.read_text())
        one, other = (int(sample_id.rsplit("/", 1)[1]) for sample_id in swapped)
        labels[one], labels[other] = labels[other], labels[one]
        path.write_text(json.dumps(labels))
    check = ("dataset", "check", "freihand", root, "--split", "train_v0", "--home", tmp_path)
    out = run_ok(capsys, *check, "--look", "31")
    (line,) = [line for line in out.splitlines() if line.startswith("second look")]
    assert "passed" in line
    bad = json.loads((tmp_path / "checks" / "freihand" / "bad.json").read_text())["splits"][0]["bad"]
    assert set(swapped) <= {hand["sample_id"] for hand in bad}
    assert len(bad) <= 4
    assert all("the detector sees" in reason for hand in bad for reason in hand["reasons"])
    assert "second look" not in run_ok(capsys, *check)


def test_without_the_detectors_networks_a_second_look_says_what_gets_them(
    hands: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path))
    refusal = run_refused(capsys, "dataset", "check", "synthetic", hands, "--look", "5", "--home", tmp_path)
    assert "`handsim models fetch` gets it once" in refusal


def test_a_broken_set_ends_the_check_with_2(hands: Path, tmp_path: Path, capsys: Capture) -> None:
    broken, out = Path(shutil.copytree(hands, tmp_path / "broken")), tmp_path / "out"
    with np.load(broken / LABELS_FILE) as labels:
        np.savez(broken / LABELS_FILE, **dict(labels, joints_3d_mm=labels["joints_3d_mm"] / 1000))
    words = ["synthetic", str(broken), "--split", "val", "--labels", "1", "--pictures", "1"]
    assert main(["dataset", "check", *words, "--out", str(out)]) == 2
    assert "units           failed   wrist to middle_mcp is 0.0" in capsys.readouterr().out
    report = json.loads((out / "check.json").read_text())
    assert report["passed"] is False
    assert [split["split"] for split in report["splits"]] == ["val"]


def test_a_check_that_finds_nothing_removes_the_figure_of_an_earlier_one(
    tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "samples.png").write_bytes(b"of a set that was there")
    assert main(["dataset", "check", "dexycb", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr().out
    assert "is not a folder; give the one that dexycb was extracted in (and 2 more splits)" in printed
    assert json.loads((tmp_path / "check.json").read_text())["splits"] == []
    assert not (tmp_path / "samples.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dataset", "check", "synthetics", "SET"), "no dataset synthetics; did you mean synthetic?"),
        (("dataset", "check", "synthetic", "SET", "--split", "s0"), "no split s0; it has train, val, test"),
        (("dataset", "to-pool", "synthetics", "SET"), "no dataset synthetics; did you mean synthetic?"),
        (("dataset", "to-pool", "synthetic", "SET", "--split", "s0"), "no split s0; it has train, val, test"),
        (("dataset", "check", "synthetic", "SET", "--labels", "0"), "labels is 0; it must be at least 1"),
        (("dataset", "check", "synthetic", "SET", "--look", "-1"), "look is -1; it must be at least 0"),
        (("synth", "--layout", "freihand"), "--layout and --out go together"),
        (("synth", "--out", "new"), "--layout and --out go together"),
        (("synth", "--layout", "dexycb", "--out", "new", "--size", "64"), "--size 64 is not for --layout"),
        (("synth", "--layout", "synthetic", "--out", "new", "--size", "0"), "size_px is 0; it must be"),
        (("synth", "--layout", "synthetic", "--out", "new", "--keypoint-noise", "0.1"), "labels are exact"),
        (("synth", "--keypoint-noise", "0.7"), "keypoint_noise is 0.7"),
        (("synth", "--world", "in_the_wood"), "there is no world in_the_wood; did you mean in_the_wild?"),
        (("synth", "--scene.passing_shar", "0.1"), "did you mean scene.passing_share?"),
        *(
            (("synth", "--layout", layout, "--out", "new", "--videos", "2"), f"the layout of {layout} needs")
            for layout in LAYOUTS
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: tuple[str, ...], message: str, hands: Path, tmp_path: Path, capsys: Capture
) -> None:
    with contextlib.chdir(tmp_path):
        refusal = run_refused(capsys, *(hands if word == "SET" else word for word in words))
    assert message in refusal
    assert not list(tmp_path.glob("*"))


def test_a_set_becomes_a_pool(hands: Path, tmp_path: Path, capsys: Capture) -> None:
    out = run_ok(capsys, "--home", tmp_path, "dataset", "to-pool", "synthetic", hands)
    assert out.startswith("12 hands: 12 new in ")
    again = run_ok(capsys, "--home", tmp_path, "dataset", "to-pool", "synthetic", hands, "--split", "train")
    assert "0 new in" in again
    assert len(Pool.open(tmp_path / "pool")) == 12


def test_every_layout_is_that_of_a_dataset() -> None:
    assert set(LAYOUTS) <= set(DATASETS)


def test_finetune_refuses_a_dataset_in_2d(tmp_path: Path, capsys: Capture) -> None:
    words = ("finetune", "ho3d", "--data.dataset", "hint", "--data.root", tmp_path)
    assert "hint has joints in 2D alone" in run_refused(capsys, "--home", tmp_path, *words)
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize("name", WORLDS.shipped())
def test_every_world_is_read(name: str) -> None:
    assert WORLDS.read(name) != SyntheticConfig()


def test_the_command_line_goes_before_the_world(tmp_path: Path, capsys: Capture) -> None:
    world = tmp_path / "world.yaml"
    world.write_text("{videos: 9, hands_per_video: 2, size_px: 32, motion: {left_share: 1.0}}")
    words = ("--world", str(world), "--videos", "2", "--keypoint-noise", "0.02", "--people.count", "1")
    assert "4 hands" in run_ok(capsys, "synth", *words, "--home", str(tmp_path))
    pool = Pool.open(tmp_path / "pool")
    assert [pool.hand(int(hand)).side for hand in pool.hand_ids] == ["left"] * 4


def bones_of(figure: Figure, joint: int) -> int:
    """Lines in the colour of a joint's finger."""
    colour = tuple(channel / 255 for channel in joint_colour(joint))
    return sum(to_rgb(line.get_color()) == colour for axes in figure.axes for line in axes.lines)


def test_joints_that_are_not_annotated_are_not_drawn(hands: Path) -> None:
    whole = SyntheticHands(hands, "train")[0]

    def bones(*annotated: int) -> list[int]:
        """Of the thumb and of the little finger, in the crop and from the side."""
        valid = np.isin(np.arange(JOINT_COUNT), annotated)
        pixels, mm = (
            np.where(valid[:, None], joints, np.nan) for joints in (whole.keypoints_2d_px, whole.joints_3d_mm)
        )
        figure = plot_dataset_samples([replace(whole, valid=valid, keypoints_2d_px=pixels, joints_3d_mm=mm)])
        return [bones_of(figure, joint) for joint in (1, 20)]

    assert bones(*range(JOINT_COUNT)) == [8, 8]
    assert bones(0, 1, 2) == [4, 0]
    assert bones() == [0, 0]


def test_joints_on_one_spot_and_no_samples_can_be_drawn(hands: Path) -> None:
    whole = SyntheticHands(hands, "train")[0]
    pixels, mm = np.full_like(whole.keypoints_2d_px, 20), np.full_like(whole.joints_3d_mm, 500)
    spot = replace(whole, keypoints_2d_px=pixels, joints_3d_mm=mm)
    for samples in ([spot] * 6, []):
        plot_dataset_samples(samples).draw_without_rendering()

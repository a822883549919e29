"""`handsim predict`, run as a person would."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apps.cli import main
from tests.apps.commands import run_json, run_ok, run_refused
from tests.handsim.builders import write_video
from tests.training.drawn_hands import DrawnHands
from tests.training.untrained import small_config, untrained_checkpoint
from training.models.estimator import EstimatorSettings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the run ``first``, and pictures in it."""
    path = tmp_path_factory.mktemp("home")
    untrained_checkpoint(path / "runs" / "first" / "checkpoints" / "best.ckpt", small_config())
    (path / "photos").mkdir()
    for row in range(2):
        Image.fromarray(DrawnHands(2)[row].image).save(path / "photos" / f"{row}.png")
    return path


def _using(home: Path) -> list[str | Path]:
    return ["--checkpoint", "first", "--home", home]


def test_every_hand_is_told_in_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = home / "photos" / "0.png"
    (answer,) = run_json(capsys, "predict", photo, "--whole", *_using(home))
    assert (answer["file"], answer["width"], answer["height"]) == (str(photo), 96, 80)
    (hand,) = answer["hands"]
    assert (hand["side"], hand["score"], hand["box_px"]) == ("right", None, [0, 0, 96, 80])
    assert hand["square_px"] == [0, -8, 96, 88]
    for name, shape in (("keypoints_2d_px", (21, 2)), ("joints_3d_mm", (21, 3)), ("confidence", (21,))):
        assert np.array(hand[name]).shape == shape
    assert "camera_3d_mm" not in hand
    assert not (home / "predictions").exists()


def test_a_focal_length_places_the_hand_in_the_camera(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--box", "20,10,80,70", "--side", "left", "--focal-px", "150"]
    (answer,) = run_json(capsys, "predict", home / "photos" / "0.png", *arguments, *_using(home))
    (hand,) = answer["hands"]
    assert (hand["side"], hand["box_px"]) == ("left", [20, 10, 80, 70])
    placed, joints = np.array(hand["camera_3d_mm"]), np.array(hand["joints_3d_mm"])
    np.testing.assert_allclose(placed - placed[0], joints - joints[0], atol=0.1)
    assert (placed[:, 2] > 0).all()


def test_pictures_are_drawn_and_described_one_by_one(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [home / "photos" / f"{row}.png" for row in range(2)]
    printed = run_ok(capsys, "predict", *photos, "--whole", "--out", tmp_path / "out", *_using(home))
    assert printed.splitlines() == [
        f"{photo}: 1 hand, {tmp_path / 'out' / f'{row}.json'}" for row, photo in enumerate(photos)
    ]
    for row, photo in enumerate(photos):
        answer = json.loads((tmp_path / "out" / f"{row}.json").read_text())
        assert answer["drawn"] == f"{row}.jpg"
        with Image.open(tmp_path / "out" / answer["drawn"]) as drawn, Image.open(photo) as plain:
            assert drawn.size == plain.size
            difference = np.abs(np.asarray(drawn).astype(int) - np.asarray(plain).astype(int))
            assert difference.max() > 80


def test_files_of_one_name_do_not_overwrite_each_other(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = home / "photos" / "0.png"
    run_ok(capsys, "predict", photo, photo, "--whole", "--out", tmp_path, *_using(home))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-2.jpg", "0-2.json", "0.jpg", "0.json"]


def test_a_photograph_is_not_drawn_over(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for photo in photos:
        Image.open(home / "photos" / "0.png").save(photo)
    before = [photo.read_bytes() for photo in photos]
    line = run_refused(capsys, "predict", *photos, "--whole", "--out", tmp_path, *_using(home))
    assert f"the drawing of {photos[1]} would be written over {photos[1]}; name another --out" in line
    assert [photo.read_bytes() for photo in photos] == before
    assert sorted(tmp_path.iterdir()) == photos  # nothing else was written either
    run_ok(capsys, "predict", photos[0], "--whole", "--out", tmp_path, *_using(home))


def test_a_video_is_looked_at_every_so_many_seconds(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "v.mp4", seconds=3)
    every = ["--whole", "--every-seconds", "1.5", "--out", str(tmp_path / "out")]
    printed = run_ok(capsys, "predict", video, *every, *_using(home))
    assert printed == f"{video}: 2 hands in 2 frames, {tmp_path / 'out' / 'v.json'}\n"
    answer = json.loads((tmp_path / "out" / "v.json").read_text())
    assert [(frame["frame"], frame["time_s"], frame["drawn"]) for frame in answer["frames"]] == [
        (0, 0.0, "v/000000.jpg"),
        (45, 1.5, "v/000045.jpg"),
    ]
    assert all((tmp_path / "out" / frame["drawn"]).exists() for frame in answer["frames"])


def test_a_damaged_file_is_reported_and_the_others_go_on(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((home / "photos" / "0.png").read_bytes()[:200])
    files = [broken, home / "photos" / "1.png", tmp_path / "gone.jpg"]
    capsys.readouterr()
    assert main(["predict", *map(str, files), "--whole", "--json", *map(str, _using(home))]) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith(f"handsim: {broken} cannot be used (")
    assert first.endswith("; give whole pictures or videos")
    assert second == f"handsim: {files[2]} cannot be used (no such file); give whole pictures or videos"
    answers: list[dict[str, Any]] = json.loads(captured.out)
    assert [len(answer.get("hands", [])) for answer in answers] == [0, 1, 0]
    assert ["problem" in answer for answer in answers] == [True, False, True]


def test_the_frames_before_a_cut_are_kept(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "v.mkv", seconds=6)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    capsys.readouterr()
    assert main(["predict", str(video), "--whole", "--json", *map(str, _using(home))]) == 2
    captured = capsys.readouterr()
    assert "truncated video" in captured.err
    (answer,) = json.loads(captured.out)
    assert 1 <= len(answer["frames"]) < 6


def test_a_picture_without_a_hand_is_told(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model_path: Path
) -> None:
    Image.new("RGB", (120, 90), (90, 120, 90)).save(tmp_path / "lawn.png")
    arguments = ["--model", str(model_path), "--no-retry", "--json"]
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "lawn.png"), *arguments, *map(str, _using(home))]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("handsim: no hand was found; try a picture")
    assert json.loads(captured.out)[0]["hands"] == []


def test_the_hands_of_photographs_are_found(
    home: Path, shared_data: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = shared_data / "hands_wild" / "test5.jpg"
    (answer,) = run_json(capsys, "predict", photo, "--model", model_path, *_using(home))
    assert {hand["side"] for hand in answer["hands"]} == {"left", "right"}
    for hand in answer["hands"]:
        x0, y0, x1, y1 = hand["square_px"]
        assert x1 - x0 == pytest.approx(y1 - y0)
        box = np.array(hand["box_px"])
        assert x1 - x0 == pytest.approx(1.75 * (box[2:] - box[:2]).max(), rel=1e-3)
        keypoints = np.array(hand["keypoints_2d_px"])
        assert (keypoints >= [x0, y0]).all()
        assert (keypoints <= [x1, y1]).all()


def test_bad_input_is_told_in_one_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    for words, expected in (
        (["--whole", "--focal-px", "0"], "--focal-px is 0; it is more than 0"),
        (["--whole", "--every-seconds", "-1"], "--every-seconds is -1"),
        (["--side", "left"], "--side goes with --box or --whole"),
        (["--box", "5,5,5,9"], "with x1 > x0"),
        (["--box", "500,5,510,9"], "lies outside the picture of 96 x 80 pixels"),
        (["--model", "/gone.task"], "no model at /gone.task"),
        (["--whole", "--out", str(tmp_path / "file")], "cannot be written"),
    ):
        assert expected in run_refused(capsys, "predict", home / "photos" / "0.png", *words, *_using(home)), (
            words
        )
    of_nobody = ["--whole", "--home", str(home), "--checkpoint", "nobody"]
    assert "no run of that name" in run_refused(capsys, "predict", home / "photos" / "0.png", *of_nobody)


def test_an_estimator_that_needs_the_camera_asks_for_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(small_config(), estimator=EstimatorSettings("regressor_25d"))
    checkpoint = untrained_checkpoint(tmp_path / "25d.ckpt", config)
    photo = home / "photos" / "0.png"
    line = run_refused(capsys, "predict", photo, "--whole", "--checkpoint", checkpoint)
    assert "give the focal length in pixels with --focal-px" in line


def test_a_box_that_is_none_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "a.png", "--box", "1,2,3", *map(str, _using(home))])
    assert "'1,2,3' is not four numbers, as in 40,60,210,230" in capsys.readouterr().err

"""`handsim predict`, run as a person would."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apps.cli import main
from handsim.videos import sample_frames
from tests.apps.commands import Capture, run_json, run_ok, run_refused
from tests.handsim.builders import write_video
from tests.training.builders import small_config, untrained_checkpoint
from tests.training.drawn_hands import DrawnHands
from training.models.estimator import EstimatorSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the run ``first``, a checkpoint that needs the camera, two images and a plain file."""
    path = tmp_path_factory.mktemp("home")
    untrained_checkpoint(path / "runs" / "first" / "checkpoints" / "best.ckpt", small_config())
    config = replace(small_config(), estimator=EstimatorSettings("regressor_25d"))
    untrained_checkpoint(path / "25d.ckpt", config)
    (path / "file").write_text("x")
    (path / "photos").mkdir()
    for row in range(2):
        Image.fromarray(DrawnHands(2)[row].image).save(path / "photos" / f"{row}.png")
    return path


def words_of(home: Path, *words: str | Path) -> list[str]:
    return ["predict", *map(str, words), "--checkpoint", "first", "--home", str(home)]


def test_every_hand_is_in_the_json(home: Path, capsys: Capture) -> None:
    photo = home / "photos" / "0.png"
    (answer,) = run_json(capsys, *words_of(home, photo, "--whole"))
    assert (answer["file"], answer["width"], answer["height"]) == (str(photo), 96, 80)
    (hand,) = answer["hands"]
    assert (hand["side"], hand["score"], hand["box_px"]) == ("right", None, [0, 0, 96, 80])
    assert hand["square_px"] == [0, -8, 96, 88]
    for name, shape in (("keypoints_2d_px", (21, 2)), ("joints_3d_mm", (21, 3)), ("confidence", (21,))):
        assert np.array(hand[name]).shape == shape
    assert "camera_3d_mm" not in hand
    assert not (home / "predictions").exists()


def test_a_focal_length_places_the_hand_in_the_camera(home: Path, capsys: Capture) -> None:
    options = ("--box", "20,10,80,70", "--side", "left", "--focal-px", "150")
    (answer,) = run_json(capsys, *words_of(home, home / "photos" / "0.png", *options))
    (hand,) = answer["hands"]
    assert (hand["side"], hand["box_px"]) == ("left", [20, 10, 80, 70])
    placed, joints = np.array(hand["camera_3d_mm"]), np.array(hand["joints_3d_mm"])
    np.testing.assert_allclose(placed - placed[0], joints - joints[0], atol=0.1)
    assert (placed[:, 2] > 0).all()


def test_images_and_videos_are_drawn_and_described_one_by_one(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Files of the same name do not overwrite each other; a video's frames come every so many seconds."""
    photo, out = home / "photos" / "0.png", tmp_path / "out"
    video = write_video(tmp_path / "v.mp4", seconds=3)
    options = ("--whole", "--every-seconds", "1.5", "--out", out)
    printed = run_ok(capsys, *words_of(home, photo, photo, video, *options))
    assert printed.splitlines() == [
        f"{photo}: 1 hand, {out / '0.json'}",
        f"{photo}: 1 hand, {out / '0-2.json'}",
        f"{video}: 2 hands in 2 frames, 1 track, {out / 'v.json'}",
    ]
    assert json.loads((out / "0-2.json").read_text())["drawn"] == "0-2.jpg"
    with Image.open(out / "0-2.jpg") as drawn, Image.open(photo) as plain:
        assert drawn.size == plain.size
        assert np.abs(np.asarray(drawn).astype(int) - np.asarray(plain)).max() > 80
    answer = json.loads((out / "v.json").read_text())
    frames = [(frame["frame"], frame["time_s"], frame["drawn"]) for frame in answer["frames"]]
    assert frames == [(0, 0.0, "v/000000.jpg"), (45, 1.5, "v/000045.jpg")]
    assert all((out / frame["drawn"]).exists() for frame in answer["frames"])
    assert answer["drawn"] == "v.mp4"
    assert [frame.time_s for frame in sample_frames(out / "v.mp4", 30, 0, None)] == [0.0, 1.5]
    assert answer["settings"] == {"every_seconds": 1.5, "smooth": 1.0}


def test_hands_of_a_video_are_linked_smoothed_and_drawn_in_every_frame(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    """As estimated with --smooth 0; boxes are given by frame, and one frame has none."""
    video, boxes = write_video(tmp_path / "v.mp4", seconds=1, rate=10), tmp_path / "boxes.json"
    moving = {str(n): [{"box": [5 + n, 5, 35 + n, 40], "side": "left"}] for n in range(10) if n != 4}
    boxes.write_text(json.dumps({"v.mp4": moving}))
    options = ("--boxes", boxes, "--every-seconds", "0")
    out = tmp_path / "out"
    printed = run_ok(capsys, *words_of(home, video, *options, "--out", out))
    assert printed.startswith(f"{video}: 9 hands in 10 frames, 1 track")
    smooth = json.loads((out / "v.json").read_text())
    (raw,) = run_json(capsys, *words_of(home, video, *options, "--smooth", "0"))
    assert sorted(path.name for path in out.iterdir()) == ["v.json", "v.mp4"]  # no picture of every frame
    drawn = list(sample_frames(out / "v.mp4", 30, 0, None))
    assert [frame.time_s for frame in drawn] == pytest.approx(np.arange(10) / 10)
    for answer in (smooth, raw):
        track = {"track": 1, "side": "left", "frames": 9, "first_s": 0.0, "last_s": 0.9}
        assert answer["tracks"] == [track]
        rows = [frame["hands"] for frame in answer["frames"]]
        assert [[hand["track"] for hand in row] for row in rows] == [[1]] * 4 + [[]] + [[1]] * 5
    first, later = ([answer["frames"][n]["hands"][0] for answer in (smooth, raw)] for n in (0, 9))
    assert first[0]["keypoints_2d_px"] == first[1]["keypoints_2d_px"]
    assert later[0]["keypoints_2d_px"] != later[1]["keypoints_2d_px"]
    assert later[0]["box_px"] == later[1]["box_px"]


def test_boxes_and_cameras_of_many_pictures_come_from_files(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    """What is wrong with one is told in a line, and the others are estimated."""
    photos = [home / "photos" / name for name in ("0.png", "1.png")]
    boxes, cameras = tmp_path / "boxes.json", tmp_path / "cameras.json"
    k = [[150, 0, 30], [0, 150, 40], [0, 0, 1]]
    given = [[20, 10, 80, 70], {"box": [10, 10, 50, 60], "side": "left"}, [200, 10, 240, 60]]
    boxes.write_text(json.dumps({"0.png": given, "gone.png": []}))
    cameras.write_text(json.dumps({"0.png": {"K": k}, "1.png": {"focal_px": -1}}))
    options = ("--boxes", boxes, "--cameras", cameras, "--json")
    assert main(words_of(home, *photos, *options)) == 2
    captured = capsys.readouterr()
    assert [re.sub(r" \(.*|; .*", "", line) for line in captured.err.splitlines()] == [
        f"handsim: {photos[0]}: bad box",
        f"handsim: {photos[0]}: hands of unknown side",
        f"handsim: {photos[1]}: bad camera",
        f"handsim: {photos[1]}: no boxes: {boxes} does not name it",
        f"handsim: {boxes} has a name that is none of the files",
    ]
    first, second = json.loads(captured.out)
    assert second["problem"].startswith("no boxes")
    assert [hand["side"] for hand in first["hands"]] == ["unknown", "left"]
    # As the same box and camera give it without files: an unknown hand as a right one.
    alone = ("--box", "20,10,80,70", "--focal-px", "150")
    (answer,) = run_json(capsys, *words_of(home, photos[0], *alone))
    one, other = first["hands"][0], answer["hands"][0]
    assert one["keypoints_2d_px"] == other["keypoints_2d_px"]
    # The camera's axis is 18 px to the left of the picture's centre, so that the hand is to the right of it.
    shift = np.subtract(one["camera_3d_mm"], other["camera_3d_mm"])
    assert (shift[:, 0] > 0).all()


def test_places_in_a_huge_photograph_are_in_its_own_pixels(
    home: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is decoded at half its size, here with a limit that tests can afford."""
    photo, options = tmp_path / "a.jpg", ("--box", "40,20,160,140", "--focal-px", "300")
    Image.fromarray(DrawnHands(2)[0].image).resize((192, 160)).save(photo)
    (whole,) = run_json(capsys, *words_of(home, photo, *options))
    monkeypatch.setattr("handsim.images.MAX_PIXELS", 96 * 80)
    (reduced,) = run_json(capsys, *words_of(home, photo, *options))
    assert [reduced[key] for key in ("width", "height")] == [192, 160]
    for name, tolerance in (
        ("box_px", 0.01),
        ("square_px", 0.01),
        ("keypoints_2d_px", 4),
        ("camera_3d_mm", 40),
    ):
        one, other = (np.array(answer["hands"][0][name]) for answer in (whole, reduced))
        np.testing.assert_allclose(one, other, atol=tolerance)


def test_a_photograph_is_not_drawn_over(home: Path, tmp_path: Path, capsys: Capture) -> None:
    photos = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for photo in photos:
        Image.open(home / "photos" / "0.png").save(photo)
    before = [photo.read_bytes() for photo in photos]
    line = run_refused(capsys, *words_of(home, *photos, "--whole", "--out", tmp_path))
    assert f"the drawing of {photos[1]} would be written over {photos[1]}; name another --out" in line
    assert [photo.read_bytes() for photo in photos] == before
    assert sorted(tmp_path.iterdir()) == photos  # nothing else was written either


def test_a_damaged_file_is_reported_and_the_others_go_on(home: Path, tmp_path: Path, capsys: Capture) -> None:
    """Of a video that is cut off, the frames before the cut are estimated, and a line says so."""
    broken, video = tmp_path / "broken.png", write_video(tmp_path / "v.mkv", seconds=6)
    broken.write_bytes((home / "photos" / "0.png").read_bytes()[:200])
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    files = [broken, home / "photos" / "1.png", tmp_path / "gone.jpg", video]
    assert main([*words_of(home, *files, "--whole", "--json")]) == 2
    captured = capsys.readouterr()
    first, second, third = captured.err.splitlines()
    assert re.fullmatch(f"handsim: {broken} cannot be used \\(.*; give whole images or videos", first)
    assert second == f"handsim: {files[2]} cannot be used (no such file); give whole images or videos"
    assert third.startswith(f"handsim: {video}: truncated video (")
    answers: list[dict[str, Any]] = json.loads(captured.out)
    assert [len(answer.get("hands", [])) for answer in answers] == [0, 1, 0, 0]
    assert ["problem" in answer for answer in answers] == [True, False, True, False]
    assert [remark["reason"] for remark in answers[3]["remarks"]] == ["truncated video"]
    assert 1 <= len(answers[3]["frames"]) < 6


def test_an_image_without_a_hand_ends_with_2(
    home: Path, tmp_path: Path, capsys: Capture, model_path: Path
) -> None:
    Image.new("RGB", (120, 90), (90, 120, 90)).save(tmp_path / "lawn.png")
    options = ("--model", model_path, "--no-retry", "--json")
    assert main(words_of(home, tmp_path / "lawn.png", *options)) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("handsim: no hand was found; try an image")
    assert json.loads(captured.out)[0]["hands"] == []


def test_the_hands_of_photographs_are_found(
    home: Path, shared_data: Path, model_path: Path, capsys: Capture
) -> None:
    photo = shared_data / "hands_wild" / "test5.jpg"
    (answer,) = run_json(capsys, *words_of(home, photo, "--model", model_path))
    assert {hand["side"] for hand in answer["hands"]} == {"left", "right"}
    for hand in answer["hands"]:
        x0, y0, x1, y1 = hand["square_px"]
        assert x1 - x0 == pytest.approx(y1 - y0, abs=2e-3)  # each is rounded to thousandths
        box = np.array(hand["box_px"])
        assert x1 - x0 == pytest.approx(1.75 * (box[2:] - box[:2]).max(), rel=1e-3)
        keypoints = np.array(hand["keypoints_2d_px"])
        assert ((keypoints >= [x0, y0]) & (keypoints <= [x1, y1])).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--whole", "--focal-px", "0"), "--focal-px is 0; it is more than 0"),
        (("--whole", "--every-seconds", "-1"), "--every-seconds is -1"),
        (("--whole", "--smooth", "-1"), "smoothing is -1; it is 0 (none) or more"),
        (("--boxes", "file"), "file cannot be read as boxes"),
        (("--whole", "--cameras", "/gone.json"), "/gone.json is not there; --cameras takes"),
        (("--side", "left"), "--side goes with --box, --boxes or --whole"),
        (("--whole", "--mirrored"), "--mirrored is for a detector"),
        (("--box", "5,5,5,9"), "with x1 > x0"),
        (("--model", "/gone.task"), "no model at /gone.task"),
        (("--whole", "--out", "file"), "cannot be written"),
        (("--whole", "--checkpoint", "nobody"), "no run of that name"),
        (("--whole", "--checkpoint", "25d.ckpt"), "give the focal length in pixels with --focal-px"),
    ],
)
def test_bad_input_is_one_line(
    home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(home)
    words = ["predict", "photos/0.png", "--checkpoint", "first", "--home", "."]
    assert message in run_refused(capsys, *words, *options)


def test_a_box_that_is_none_is_refused(home: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(words_of(home, "a.png", "--box", "1,2,3"))
    assert "'1,2,3' is not four numbers, as in 40,60,210,230" in capsys.readouterr().err

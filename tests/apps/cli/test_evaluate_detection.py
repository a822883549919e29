"""``handsim evaluate detection``, with a program that finds what a test wants found."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apps.cli.detection_figure import MISSED, describe_mistakes
from handsim.annotations import AnnotationFormat
from handsim.coco import CATEGORY
from handsim.detection.labelled_pictures import read_labelled_pictures
from handsim.detection.parallel import detect_in_files
from handsim.errors import HandsimError, UnusableError
from handsim.metrics.detection import match_picture
from tests.apps.commands import Capture, run_ok, run_refused
from tests.handsim.annotations import builders
from tests.handsim.builders import BrightnessDetector, make_no_detector, write_picture

PROGRAM = """
import json, sys

keypoints = [[10 + 3 * (joint % 5), 20 + 3 * (joint // 5)] for joint in range(21)]
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"hands": [{"side": "left", "keypoints": keypoints}]}
    if asked["width"] == 108:
        answer = {"error": "too dark"}
    print(json.dumps({"id": asked["id"], **answer}), flush=True)
"""
"""It finds a left hand where the first one is labelled, in every picture."""
LABELLED = np.array([[10 + 3 * (joint % 5), 20 + 3 * (joint // 5)] for joint in range(21)], dtype=float)


@pytest.fixture
def detector(tmp_path: Path) -> str:
    """The command line of `PROGRAM`."""
    (tmp_path / "program.py").write_text(PROGRAM)
    return f"command:{shlex.quote(sys.executable)} -S {shlex.quote(str(tmp_path / 'program.py'))}"


def annotation(number: int, image: int, joints: np.ndarray, **more: Any) -> dict[str, Any]:
    flat = np.column_stack([joints, np.full(21, 2)]).ravel().tolist()
    return {"id": number, "image_id": image, "category_id": 1, "keypoints": flat, "side": "left", **more}


def write_labels(folder: Path) -> Path:
    """Six pictures: a hand found, one of two missed, none, no picture, one not there, one that is refused."""
    widths = {1: 101, 2: 101, 3: 64, 4: 101, 5: 101, 6: 108}
    images = [
        {"id": number, "file_name": f"{number}.png", "width": width, "height": 80}
        for number, width in widths.items()
    ]
    folder.mkdir()
    for number in (1, 2, 3, 6):
        Image.new("RGB", (widths[number], 80), (90, 90, 90)).save(folder / f"{number}.png")
    (folder / "4.png").write_bytes(b"no picture")
    hands = [
        annotation(1, 1, LABELLED),
        annotation(2, 2, LABELLED + 1.2, side="right"),
        annotation(3, 2, LABELLED + np.array([60, 20])),
        annotation(4, 4, LABELLED),
        annotation(5, 5, LABELLED),
        annotation(6, 6, LABELLED),
        annotation(7, 1, LABELLED + np.array([60, 30]), iscrowd=1),
    ]
    labels = folder / "coco.json"
    labels.write_text(json.dumps({"images": images, "annotations": hands, "categories": [CATEGORY]}))
    return labels


def test_a_detector_is_measured_and_its_worst_pictures_are_drawn(
    tmp_path: Path, detector: str, capsys: Capture
) -> None:
    labels = write_labels(tmp_path / "set")
    asked = ("--labels", labels, "--detector", detector, "--workers", "2", "--home", tmp_path / "home")
    printed = run_ok(capsys, "evaluate", "detection", *asked)
    folder = tmp_path / "home" / "runs" / "detection"
    report = json.loads((folder / "detection.json").read_text())
    every = report["all"]
    counts = [every[name] for name in ("pictures", "hands", "found", "false", "doubled", "sides")]
    assert counts == [4, 4, 2, 1, 0, 2]
    assert (every["recall"], every["side_accuracy"]) == (0.5, 0.5)
    assert every["mean_error_percent"] == pytest.approx(100 * 1.2 * 2**0.5 / 12 / 2, rel=1e-3)
    assert report["left_out"] == {"no such picture": 1, "unusable picture": 1}
    assert "5.png is not in" in printed
    assert "4.png: " in printed
    assert f"the detector failed on {tmp_path / 'set' / '6.png'}: " in printed
    assert "too dark" in printed
    assert sum(some["hands"] for some in report["by_size_px"].values()) == 4
    with Image.open(folder / "figures" / "worst.png") as figure:
        assert (np.asarray(figure.convert("RGB")) == MISSED).all(axis=2).sum() > 100


def test_what_cannot_be_measured_is_refused_in_one_line(
    tmp_path: Path, detector: str, capsys: Capture
) -> None:
    labels = write_labels(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.json").write_text("[1, 2")

    def refuse(*words: str | Path) -> str:
        return run_refused(
            capsys, "evaluate", "detection", "--home", tmp_path, "--detector", detector, *words
        )

    for path in (tmp_path / "none.json", tmp_path):
        assert f"there is no file {path};" in refuse("--labels", path)
    assert "give their folder by --images" in refuse("--labels", labels, "--images", tmp_path / "empty")
    assert "not annotations" in refuse("--labels", tmp_path / "words.json")
    assert "--min-iou is 1.5" in refuse("--labels", labels, "--min-iou", "1.5")
    assert "--workers is 0" in refuse("--labels", labels, "--workers", "0")


@pytest.mark.parametrize("format", builders.FORMATS)
def test_labels_of_every_format_say_where_hands_are(format: AnnotationFormat, tmp_path: Path) -> None:
    labels = builders.write_hands(format, tmp_path / "hands.json")
    for name in builders.IMAGES:
        write_picture(tmp_path / "pictures" / name, 90)
    read = read_labelled_pictures(labels, tmp_path / "pictures")
    assert not read.left_out
    hands = {picture.path: picture.true_hands(builders.SIZE_PX) for picture in read.pictures}
    for number, name in enumerate(builders.IMAGES):
        (hand,) = hands[tmp_path / "pictures" / name]
        points = builders.POINTS[number]
        assert hand.side == builders.SIDES[number]
        assert hand.joints_px is not None
        np.testing.assert_allclose(hand.joints_px, points, atol=1e-6)
        np.testing.assert_allclose(hand.box_px, [*points.min(axis=0), *points.max(axis=0)], atol=1e-6)
        assert describe_mistakes(match_picture([hand], [], builders.SIZE_PX)) == ["1 missed"]


def test_a_hand_labelled_with_a_box_alone_and_no_side_is_one(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "set")
    truth = json.loads(labels.read_text())
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 40, 30]}
    labels.write_text(json.dumps({**truth, "annotations": [box]}))
    first, *others = read_labelled_pictures(labels).pictures
    (hand,) = first.true_hands((101, 80))
    assert (hand.box_px.tolist(), hand.side, hand.joints_px) == ([10, 20, 50, 50], "unknown", None)
    assert [picture.hands for picture in others] == [[], [], [], []]
    assert first.true_hands((101, 80), min_size_px=41)[0].is_ignored
    with pytest.raises(UnusableError, match="labelled as 101 x 80, and it is 64 x 64"):
        first.true_hands((64, 64))


def test_a_picture_that_ends_the_process_is_told_and_the_others_are_looked_at(tmp_path: Path) -> None:
    levels = {"a.png": (90, 90, 90), "b.png": (255, 0, 0), "c.png": (200, 200, 200), "d.png": (0, 0, 0)}
    for name, level in levels.items():
        write_picture(tmp_path / name, level)
    paths = [tmp_path / name for name in levels]
    found = dict(detect_in_files(paths, BrightnessDetector, workers=1))
    assert [len(found[number].detections) for number in range(4)] == [1, 0, 1, 0]
    assert [found[number].is_detectors for number in range(4)] == [False, True, False, False]
    assert "ended over it" in found[1].failure
    with pytest.raises(HandsimError, match="the hand model is not on this computer yet"):
        list(detect_in_files(paths, make_no_detector, workers=1))

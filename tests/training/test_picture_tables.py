"""Boxes and cameras of many pictures, from one file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim.errors import HandsimError, Remark, UnusableError
from training.picture_tables import Camera, GivenHand, read_boxes, read_cameras

BOX = (1.0, 2.0, 30.0, 40.0)


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def test_names_are_paths_from_the_file_or_plain_names(tmp_path: Path) -> None:
    file = write(tmp_path / "t" / "boxes.json", {"a.jpg": [BOX], "sub/b.jpg": [], "c.jpg": [], "d.jpg": []})
    (tmp_path / "t" / "a.jpg").touch()
    table = read_boxes(file)
    beside, below = (
        table.find(tmp_path / "t" / "a.jpg"),
        table.find(tmp_path / "t" / "sub" / ".." / "sub" / "b.jpg"),
    )
    assert beside is not None
    assert beside.at(None) == [GivenHand(BOX, "unknown")]
    assert below is not None
    assert below.at(None) == []
    assert table.find(tmp_path / "elsewhere" / "a.jpg") is None  # a.jpg is the one beside the file
    assert table.find(tmp_path / "elsewhere" / "b.jpg") is None
    assert table.find(tmp_path / "elsewhere" / "c.jpg") is not None
    (line,) = table.unused()
    assert f"{file} has a name that is none of the files (d.jpg)" in line


def test_boxes_say_their_side_or_have_the_usual_one(tmp_path: Path) -> None:
    boxes = [BOX, {"box": BOX, "side": "L"}, {"box": BOX, "side": "unknown"}]
    hands = read_boxes(write(tmp_path / "b.json", {"a.jpg": boxes, "b.jpg": BOX}), "right").find(
        Path("a.jpg")
    )
    assert hands is not None
    assert [hand.side for hand in hands.at(None)] == ["right", "left", "unknown"]
    assert hands.remarks == []


def test_boxes_of_a_video_are_of_its_frames_or_of_all(tmp_path: Path) -> None:
    file = write(tmp_path / "b.json", {"v.mp4": {"0": [BOX], "7": [BOX, BOX], "9": []}, "w.mp4": [BOX]})
    table = read_boxes(file)
    some, every = table.find(Path("v.mp4")), table.find(Path("w.mp4"))
    assert some is not None
    assert every is not None
    assert [len(some.at(frame)) for frame in (0, 1, 9)] == [1, 0, 0]
    assert [len(every.at(frame)) for frame in (0, 1)] == [1, 1]
    (line,) = table.unused()
    assert (
        "1 of the frames of v.mp4 that have boxes (the first: 7) were not looked at; --every-seconds 0"
        in line
    )
    with pytest.raises(UnusableError, match="boxes are given by frame; give a list"):
        some.at(None)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([BOX, [1, 2, 3]], r"[1, 2, 3] is not [x0, y0, x1, y1] in pixels"),
        ([[5, 5, 5, 9], BOX], "with x1 > x0 and y1 > y0"),
        ([BOX, [1, 2, None, 4]], "is not [x0, y0"),
        ([BOX, [1, 2, float("nan"), 4]], "is not [x0, y0"),
        ([BOX, "x"], "'x' is not"),
        ([BOX, {"side": "left"}], "is not [x0, y0"),
        ([BOX, {"box": BOX, "side": "both"}], "'both' is neither left nor right"),
        ({"0": [BOX], "last": [BOX]}, "'last' is no number of a frame; count them from 0"),
        ({"0": [BOX], "3": 5}, "frame 3: 5 is no list of boxes"),
    ],
)
def test_a_bad_box_is_a_remark_and_the_others_stay(tmp_path: Path, given: Any, problem: str) -> None:
    hands = read_boxes(write(tmp_path / "b.json", {"a.mp4": given})).find(Path("a.mp4"))
    assert hands is not None
    assert hands.at(0) == [GivenHand(BOX, "unknown")]
    (remark,) = hands.remarks
    assert remark.reason == "bad box"
    assert problem in remark.detail


def test_a_coco_file_is_read_as_an_ingest_does(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 64} for n in (1, 2)]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 29, 38], "side": "left"},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 0, 38]},
    ]
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "hand"}]}
    table = read_boxes(write(tmp_path / "coco.json", coco))
    first, second = table.find(Path("1.jpg")), table.find(Path("2.jpg"))
    assert first is not None
    assert first.at(None) == [GivenHand(BOX, "left")]
    assert ["annotation 2" in remark.detail for remark in first.remarks] == [True]
    assert second is not None
    assert second.at(None) == []


def test_a_camera_is_a_focal_length_or_k(tmp_path: Path) -> None:
    k = [[140, 0, 30], [0, 150, 20], [0, 0, 1]]
    table = read_cameras(write(tmp_path / "c.json", {"a.jpg": {"focal_px": 100}, "b.jpg": {"K": k}}))
    centred, given = table.find(Path("a.jpg")), table.find(Path("b.jpg"))
    assert isinstance(centred, Camera)
    assert isinstance(given, Camera)
    # Of an image that was decoded at half its size.
    assert centred.intrinsics((32, 24), 0.5).tolist() == [[50, 0, 16], [0, 50, 12], [0, 0, 1]]
    np.testing.assert_allclose(given.intrinsics((32, 24), 0.5), [[70, 0, 15], [0, 75, 10], [0, 0, 1]])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"focal_px": 0}, "the focal length is 0; it is more than 0"),
        ({"focal_px": "wide"}, "is neither"),
        ({"K": [[1, 0, 0]]}, "K is [[1.0, 0.0, 0.0]]; it is [[fx, s, cx]"),
        ({"K": [[1, 0, 5], [0, -1, 5], [0, 0, 1]]}, "it is [[fx, s, cx]"),
        ({"K": [[1, 0, 5], [0, 1]]}, "is neither"),
        ({}, '{} is neither {"focal_px": F} nor'),
        (1400, "1400 is neither"),
    ],
)
def test_a_bad_camera_is_a_remark(tmp_path: Path, given: Any, problem: str) -> None:
    remark = read_cameras(write(tmp_path / "c.json", {"a.jpg": given})).find(Path("a.jpg"))
    assert isinstance(remark, Remark)
    assert problem in remark.detail


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is not there; --boxes takes a JSON file as in"),
        ("{", "cannot be read as boxes"),
        ("[[1, 2, 3, 4]]", "is not a JSON object of boxes; give it as in"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str | None, problem: str) -> None:
    file = tmp_path / "b.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(HandsimError, match=problem):
        read_boxes(file)

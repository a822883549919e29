"""What is wrong in annotations: each fault is a line with place, value and remedy, and the rest goes in."""

import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from handsim.annotations import (
    AnnotatedHand,
    Annotation,
    AnnotationFile,
    AnnotationFormat,
    AnnotationOptions,
    BadAnnotation,
    json_stream,
    wilor,
)
from handsim.errors import UnusableError
from tests.handsim.annotations import builders
from tests.handsim.annotations.builders import POINTS, read, write_hands

NAN = float("nan")
OUTSIDE = [500.0, 10.0, 540.0, 50.0]
ELSEWHERE = [60.0, 45.0, 78.0, 58.0]
DAMAGE: list[tuple[AnnotationFormat, dict[str, Any], str, str]] = [
    ("coco", {"image_id": 99}, "no such image", "annotation 101: image_id 99"),
    ("coco", {"image_id": ...}, "no such image", "image_id None"),
    ("coco", {"keypoints": ...}, "too few joints", "0 of 21 joints"),
    ("coco", {"keypoints": [1, 2, 2] * 17}, "wrong joint count", "51 numbers; 21 joints"),
    ("coco", {"keypoints": [NAN] * 63}, "too few joints", "0 of 21 joints"),
    ("coco", {"keypoints": [1e12, 5, 2] * 21}, "too few joints", "0 of 21 joints"),
    ("coco", {"keypoints": [7, 5, 2] * 21, "bbox": ...}, "bad keypoints", "on one line"),
    ("coco", {"keypoints": "abc"}, "bad annotation", "annotation 101"),
    ("coco", {"bbox": [1, 2, 3]}, "bad box", "[1, 2, 3]"),
    ("coco", {"bbox": [NAN, 2, 3, 4]}, "bad box", "nan"),
    ("coco", {"bbox": [10, 10, -5, 8]}, "bad box", "x, y, width, height"),
    ("coco", {"bbox": [500, 10, 40, 40]}, "box outside", "80 x 60"),
    ("coco", {"bbox": [-1000, -1000, 4000, 4000]}, "box outside", "far larger"),
    ("coco", {"bbox": [60, 45, 18, 13]}, "joints outside box", "0 of 21 joints"),
    ("coco", {"side": "both"}, "bad side", "'both'"),
    ("coco", {"id": 100}, "id twice", "annotation 100"),
    ("coco", {"score": 7}, "bad score", "score is 7"),
    ("coco-wholebody", {"lefthand_kpts": [0.5] * 60}, "wrong joint count", "60 numbers"),
    ("coco-wholebody", {"lefthand_kpts": None}, "too few joints", "left hand"),
    ("coco-wholebody", {"lefthand_box": [500, 10, 40, 40]}, "box outside", "annotation 101, left hand"),
    ("coco-wholebody", {"image_id": []}, "no such image", "[]"),
    ("hand100m", {"image_id": 9}, "no such image", "image_id 9"),
    ("hand100m", {"hand_id": ...}, "bad annotation", "'hand_id' is missing"),
    ("hand100m", {"boxes": "10, 20"}, "bad annotation", "JSONDecodeError"),
    ("hand100m", {"boxes": "[10, 20, 10, 90]"}, "bad box", "[10, 20, 10, 90]"),
    ("hand100m", {"boxes": json.dumps(OUTSIDE)}, "box outside", "hand 101"),
    ("hand100m", {"keypoint_25d": [0.5] * 62}, "wrong joint count", "62 numbers"),
    ("hand100m", {"keypoint_25d": None}, "too few joints", "0 of 21"),
    ("hand100m", {"left_right": "Both"}, "bad side", "'Both'"),
    ("hand100m", {"hand_id": "100"}, "id twice", "hand 100"),
    ("mediapipe", {"hand_landmarks": [[[0.5, 0.5]] * 20]}, "wrong joint count", "20 x 2"),
    ("mediapipe", {"hand_landmarks": [[{"x": 0.5}] * 21]}, "bad annotation", "'y' is missing"),
    ("mediapipe", {"hand_landmarks": [[[NAN, NAN]] * 21]}, "too few joints", "result 1"),
    ("mediapipe", {"handedness": []}, "no side", "--side"),
    ("mediapipe", {"image": builders.IMAGES[0]}, "id twice", "result 1"),
    ("wilor", {"is_right": ...}, "missing field", "is_right"),
    ("wilor", {"is_right": "both"}, "bad side", "result 1: 'both'"),
    ("wilor", {"image": 7}, "bad image", "7 is no picture's name"),
    ("wilor", {"is_right": [1, 0]}, "wrong number of hands", "4 entries for 2 hands"),
    ("wilor", {"wilor_preds": {"pred_keypoints_3d": [[[0, 0, 0]] * 21]}}, "missing field", "cam_t"),
    ("wilor", {"wilor_preds": {}}, "too few joints", "--boxes"),
    ("wilor", {"hand_bbox": OUTSIDE}, "box outside", "500"),
    ("handsim-jsonl", {"image": ...}, "bad annotation", "'image' is missing"),
    ("handsim-jsonl", {"side": ...}, "no side", "--side"),
    ("handsim-jsonl", {"keypoints": POINTS[1][:20].tolist()}, "wrong joint count", "20 x 2"),
    ("handsim-jsonl", {"box": ELSEWHERE}, "joints outside box", "0 of 21"),
    ("handsim-jsonl", {"joint_scores": [1.0] * 20}, "wrong joint count", "joint_scores"),
    ("handsim-jsonl", {"id": "h0"}, "id twice", "'h0'"),
    ("handsim-jsonl", {"frame": "x"}, "bad annotation", "'x'"),
]


@pytest.mark.parametrize(("format", "changes", "reason", "detail"), DAMAGE)
def test_a_fault_is_told_and_the_other_hands_are_read(
    tmp_path: Path, format: AnnotationFormat, changes: dict[str, Any], reason: str, detail: str
) -> None:
    found = read(write_hands(format, tmp_path / "a.json", **changes), format=format)
    bad = [hand for hand in found if isinstance(hand, BadAnnotation)]
    assert [hand.reason for hand in bad] == [reason], bad
    assert detail in bad[0].detail
    assert "\n" not in bad[0].detail
    assert len(found) - len(bad) == builders.COUNT - 1


def read_until_broken(path: Path) -> tuple[list[Annotation], UnusableError]:
    file = AnnotationFile(path, PurePosixPath("data", path.name), AnnotationOptions())
    found: list[Annotation] = []
    with pytest.raises(UnusableError) as caught:
        found.extend(file.read())
    return found, caught.value


@pytest.mark.parametrize("format", builders.FORMATS)
def test_of_a_file_cut_short_all_before_the_cut_is_read(tmp_path: Path, format: AnnotationFormat) -> None:
    make_records, write = builders.FORMATS[format]
    path = write(tmp_path / "a.json", make_records())
    if format == "coco-wholebody":  # the pictures come last here: they must not be lost
        builders.write_hand100m(path, make_records())
    text = path.read_text()
    # In the middle of the last record.
    place = text.rindex('"image_id"' if '"annotations"' in text else '"image"')
    path.write_text(text[: text.index(",", place) + 3])
    found, error = read_until_broken(path)
    assert len(found) == builders.COUNT - 1
    assert all(isinstance(hand, AnnotatedHand) for hand in found)
    assert "what comes before is used" in error.detail


def test_a_damaged_line_costs_itself_alone(tmp_path: Path) -> None:
    path = write_hands("handsim-jsonl", tmp_path / "a.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:-20] + "\n" + lines[2] + lines[3])
    found = read(path)
    assert [type(hand) for hand in found] == [AnnotatedHand, BadAnnotation, AnnotatedHand, AnnotatedHand]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[" * 100_000, "annotations break off"),
        ("9" * 5_000, "no such image"),
        ('"' + "x" * 3_000_000 + '"', "annotations break off"),
    ],
    ids=["nested 100,000 deep", "5,000 digits", "a string without end"],
)
def test_attacks_cost_one_line_and_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    monkeypatch.setattr(json_stream, "MAX_RECORD_CHARS", 1 << 20)
    path = write_hands("coco", tmp_path / "a.json", image_id="HERE")
    path.write_text(path.read_text().replace('"HERE"', value))
    if reason == "no such image":
        found: list[Annotation] = read(path)
        assert [hand.reason for hand in found if isinstance(hand, BadAnnotation)] == [reason]
        return
    found, error = read_until_broken(path)
    assert (len(found), error.reason, error.detail[:12]) == (1, reason, "in record 1,")


def test_what_holds_no_annotations_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, tuple[bytes, str]] = {
        "empty.json": (b"", "empty file"),
        "text.json": (b"no JSON", "not annotations"),
        "settings.json": (b'{"compilerOptions": {"strict": true}}', "not annotations"),
        "nothing.json": (b'{"images": [', "not annotations"),
        "no_names.json": (b'{"images": [{"id": 1}], "annotations": []}', "not annotations"),
        "binary.npz": (b"PK\x03\x04" + bytes(200), "not annotations"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnusableError) as caught:
            read(tmp_path / name)
        assert caught.value.reason == reason, name
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.json", "{}")
    with pytest.raises(UnusableError, match="unpack it first"):
        read(tmp_path / "a.zip")
    monkeypatch.setattr(wilor, "MAX_ARRAY_BYTES", 1_000_000)
    np.savez_compressed(tmp_path / "bomb.npz", is_right=np.ones(1), boxes=np.zeros((1_000_000, 4)))
    with pytest.raises(UnusableError, match=r"unpacks to 0\.0 GB"):
        read(tmp_path / "bomb.npz")
    np.savez(tmp_path / "pickle.npz", is_right=np.array([{}], dtype=object))
    with pytest.raises(UnusableError, match="the archive is damaged"):
        read(tmp_path / "pickle.npz")


def test_a_wrong_format_is_told(tmp_path: Path) -> None:
    path = write_hands("coco", tmp_path / "a.json")
    silent: tuple[AnnotationFormat, ...] = ("openpose", "coco-wholebody")
    for format in silent:
        with pytest.raises(UnusableError, match="leave out --format"):
            read(path, format=format)


def test_results_by_the_names_of_their_pictures_are_read_as_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK_BYTES", 256)
    monkeypatch.setattr(json_stream, "MAX_RECORD_CHARS", 1 << 11)
    by_name = {record.pop("image"): [record] for record in builders.wilor_records()}
    path = builders.write_list(tmp_path / "a.json", [by_name])
    path.write_text(path.read_text()[1:-1])
    assert [hand.image for hand in read(path)] == list(builders.IMAGES)
    path.write_text(path.read_text()[:-100])
    found, error = read_until_broken(path)
    assert ([hand.image for hand in found], error.reason) == ([*builders.IMAGES[:3]], "annotations break off")


def test_bad_pictures_of_a_list_and_ids_twice_are_told(tmp_path: Path) -> None:
    path = write_hands("coco", tmp_path / "a.json")
    content = json.loads(path.read_text())
    content["images"] += [
        {"id": 7},
        {"id": 0, "file_name": "other.png"},
        {"id": 8, "file_name": "x", "width": "wide"},
    ]
    path.write_text(json.dumps(content))
    found = read(path)
    bad = [hand for hand in found if isinstance(hand, BadAnnotation)]
    assert [hand.reason for hand in bad] == ["bad image", "bad image", "id twice"]
    assert len(found) == builders.COUNT + 3
    assert found[3].image == builders.IMAGES[0]


def test_ids_of_pictures_may_be_words_or_digits(tmp_path: Path) -> None:
    path = write_hands("coco", tmp_path / "a.json", image_id="first")
    content = json.loads(path.read_text())
    content["images"][1]["id"] = "first"
    content["annotations"][2]["image_id"] = "2"
    path.write_text(json.dumps(content))
    assert [hand.image for hand in read(path)] == list(builders.IMAGES)

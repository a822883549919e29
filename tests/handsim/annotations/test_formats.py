"""Each format of annotations, told by its content, and what its hands are."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from handsim.annotations import (
    AnnotatedHand,
    AnnotationFile,
    AnnotationFormat,
    AnnotationOptions,
    BadAnnotation,
)
from handsim.annotations.hand100m import points_in_picture
from handsim.errors import HandsimError
from handsim.hand import SIDES as ALL_SIDES
from handsim.skeleton import JOINT_NAMES, JOINT_ORDERS
from tests.handsim.annotations import builders
from tests.handsim.annotations.builders import IMAGES, POINTS, SIDES, SIZE_PX, read, write_hands


def pixels(hand: AnnotatedHand) -> np.ndarray[Any, Any]:
    """x and y [21, 2] in the picture, whatever the unit."""
    points = hand.points
    if hand.unit == "crop":
        assert hand.box_px is not None
        points = points_in_picture(points, hand.box_px, SIZE_PX)
    if hand.unit == "picture":
        points = points * (*SIZE_PX, 1)
    return points[:, :2]


@pytest.mark.parametrize("format", builders.FORMATS)
def test_every_format_is_told_by_its_content_and_gives_the_same_hands(
    tmp_path: Path, format: AnnotationFormat
) -> None:
    path = write_hands(format, tmp_path / "hands.json")
    file = AnnotationFile(path, PurePosixPath("data/hands.json"), AnnotationOptions())
    hands = list(file.read())
    assert file.format == format
    assert len(hands) == builders.COUNT
    for number, hand in enumerate(hands):
        assert isinstance(hand, AnnotatedHand), hand
        assert (hand.image, hand.side) == (IMAGES[number], SIDES[number])
        np.testing.assert_allclose(pixels(hand), POINTS[number], atol=1e-6)
        if hand.unit != "picture":
            assert hand.box_px == tuple(builders.BOX) or format in ("mediapipe",)
    scores = hands[0].joint_scores if isinstance(hands[0], AnnotatedHand) else None
    assert (scores is not None) == (format == "coco-wholebody")


def test_openpose_has_a_file_for_each_frame_and_its_joints_without_confidence_are_unlabelled(
    tmp_path: Path,
) -> None:
    left = builders.flat(0, 0.8)
    left[3 * 7 : 3 * 8] = [0, 0, 0]
    people = [{"hand_left_keypoints_2d": left, "hand_right_keypoints_2d": [0] * 63}, {}]
    path = tmp_path / "clip_000000000012_keypoints.json"
    path.write_text(json.dumps({"version": 1.3, "people": people}))
    (hand,) = AnnotationFile(path, PurePosixPath("data/cam0", path.name), AnnotationOptions()).read()
    assert isinstance(hand, AnnotatedHand)
    assert (hand.image, hand.video, hand.frame) == ("cam0/clip_000000000012", "cam0/clip", 12)
    assert hand.side == "left"
    assert hand.score == pytest.approx(0.8)
    assert np.flatnonzero(np.isnan(hand.points[:, 0])).tolist() == [7]
    assert hand.joint_scores is not None
    assert np.isnan(hand.joint_scores[7])


def test_freihand_is_projected_and_its_versions_are_one_recording(tmp_path: Path) -> None:
    camera = [[400.0, 0, 111.5], [0, 400.0, 111.5], [0, 0, 1]]
    joints = np.random.default_rng(0).uniform(-0.05, 0.05, (2, 21, 3)) + np.array([0, 0, 0.6])
    (tmp_path / "training_xyz.json").write_text(json.dumps(joints.tolist()))
    (tmp_path / "training_K.json").write_text(json.dumps([camera, camera]))
    hands = read(tmp_path / "training_xyz.json")
    assert len(hands) == 8
    second, last = hands[1], hands[7]
    assert isinstance(second, AnnotatedHand)
    assert isinstance(last, AnnotatedHand)
    assert (second.image, second.video) == ("training/rgb/00000002.jpg", "training/00000000")
    assert (last.image, last.video) == ("training/rgb/00000007.jpg", "training/00000001")
    expected = joints[0, :, :2] / joints[0, :, 2:] * 400 + 112  # whole numbers are centres of pixels
    np.testing.assert_allclose(second.points[:, :2], expected)
    assert second.points[0, 2] == 0
    assert second.joints_mm is not None
    np.testing.assert_allclose(second.joints_mm, joints[0] * 1000)
    assert len(read(tmp_path / "training_xyz.json", pictures=False)) == 2
    with pytest.raises(HandsimError, match="it is read with"):
        read(tmp_path / "training_K.json")


def test_results_with_joints_in_space_are_projected_also_from_npz(tmp_path: Path) -> None:
    depth = np.random.default_rng(1).uniform(-0.05, 0.05, (2, 21))
    depth[:, 0] = 0
    space = np.stack(
        [np.column_stack([(POINTS[n] - (40, 30)) / 100 * (2 + depth[n])[:, None], depth[n]]) for n in (0, 1)]
    )
    np.savez(
        tmp_path / "photo.npz",
        keypoints_3d=space,
        cam_t=[[0.0, 0, 2]] * 2,
        focal_length=100.0,
        img_size=SIZE_PX,
        is_right=[1, 0],
        boxes=[builders.BOX] * 2,
        imgname=IMAGES[:2],
        vertices=np.zeros((2, 778, 3)),
    )
    for number, hand in enumerate(read(tmp_path / "photo.npz")):
        assert isinstance(hand, AnnotatedHand), hand
        assert (hand.image, hand.side) == (IMAGES[number], SIDES[number])
        np.testing.assert_allclose(hand.points[:, :2], POINTS[number], atol=1e-6)
        np.testing.assert_allclose(hand.points[:, 2], depth[number] / 2 * 100, atol=1e-6)


def test_older_mediapipe_names_the_side_of_a_mirrored_picture(tmp_path: Path) -> None:
    (_, record, *_) = builders.mediapipe_records()
    older = {
        "multi_hand_landmarks": [{"landmark": record["hand_landmarks"][0]}],
        "multi_handedness": [{"classification": [{"label": "Left", "score": 1.01}]}],
    }
    (tmp_path / "by_name.json").write_text(json.dumps({"a/1.png": older, "a/2.png": [older]}))
    hands = read(tmp_path / "by_name.json")
    assert [(hand.image, isinstance(hand, AnnotatedHand) and hand.side) for hand in hands] == [
        ("a/1.png", "right"),
        ("a/2.png", "right"),
    ]


def test_a_list_of_whole_persons_without_parts_has_its_hands_at_the_end(tmp_path: Path) -> None:
    keypoints = [0.0] * 91 * 3 + builders.flat(0, 1) + builders.flat(1, 0)
    record = {"id": 1, "image_id": 0, "keypoints": keypoints}
    (hand,) = read(builders.write_whole_body(tmp_path / "a.json", [record]))
    assert isinstance(hand, AnnotatedHand)
    assert hand.side == "left"
    np.testing.assert_allclose(hand.points[:, :2], POINTS[0])


def write_named(path: Path, names: list[str], points: np.ndarray[Any, Any]) -> Path:
    keypoints = np.column_stack([points, np.full(21, 2)]).ravel().tolist()
    record = {"id": 1, "image_id": 0, "category_id": 1, "keypoints": keypoints}
    category = {"id": 1, "name": "hand", "keypoints": names}
    path.write_text(
        json.dumps({"categories": [category], "images": builders.coco_images(), "annotations": [record]})
    )
    return path


def test_names_of_joints_tell_their_order_and_contradictions_are_refused(tmp_path: Path) -> None:
    order = list(JOINT_ORDERS["interhand"])
    theirs = np.argsort(order)
    names = [JOINT_NAMES[joint] for joint in theirs]
    path = write_named(tmp_path / "a.json", names, POINTS[0][theirs])
    numbered = [
        f"{finger}{part}"
        for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
        for part in (4, 3, 2, 1)
    ] + ["wrist"]
    for file, options in (
        (path, {}),
        (write_named(tmp_path / "b.json", numbered, POINTS[0][theirs]), {}),
        (
            write_named(tmp_path / "c.json", [f"joint{n}" for n in range(21)], POINTS[0][theirs]),
            {"joint_order": tuple(order)},
        ),
    ):
        (hand,) = read(file, side="right", **options)
        assert isinstance(hand, AnnotatedHand)
        np.testing.assert_allclose(hand.points[:, :2], POINTS[0])
    with pytest.raises(HandsimError, match="another order than --joint-order"):
        read(path, side="right", joint_order=JOINT_ORDERS["mano"])
    with pytest.raises(HandsimError, match="do not name each joint of a hand once"):
        read(write_named(tmp_path / "d.json", ["wrist", *names[1:]], POINTS[0]))


def test_a_side_is_read_wherever_the_file_says_it(tmp_path: Path) -> None:
    ways: builders.Records = [
        {"side": "L"},
        {"handedness": "Left"},
        {"is_right": 0},
        {"lefthand_valid": True, "righthand_valid": False},
    ]
    for number, words in enumerate(ways):
        records = [{**builders.coco_records()[0], "category_id": 3, **words}]
        (hand,) = read(builders.write_coco(tmp_path / f"{number}.json", records))
        assert isinstance(hand, AnnotatedHand)
        assert hand.side == "left"
    records = [{**builders.coco_records()[0], "category_id": 3}]
    (nobody,) = read(builders.write_coco(tmp_path / "nobody.json", records))
    assert isinstance(nobody, BadAnnotation)
    assert "give --side" in nobody.detail
    for side in ALL_SIDES:
        (hand,) = read(tmp_path / "nobody.json", side=side)
        assert isinstance(hand, AnnotatedHand)
        assert hand.side == side


@pytest.mark.parametrize("third", [0, None, "NaN"])
def test_unlabelled_joints_have_no_place_and_hands_with_too_few_are_left_out(
    tmp_path: Path, third: Any
) -> None:
    keypoints = np.column_stack([POINTS[1], np.full(21, 2.0)]).tolist()
    for joint in range(10):
        keypoints[joint] = [0, 0, 0] if third == 0 else [third and float(third)] * 3
    flat = [value for point in keypoints for value in point]
    hand = read(write_hands("coco", tmp_path / "a.json", keypoints=flat))[1]
    assert isinstance(hand, AnnotatedHand)
    assert np.isnan(hand.points[:10]).all()
    assert np.isfinite(hand.points[10:]).all()
    few = read(tmp_path / "a.json", min_joints=12)[1]
    assert isinstance(few, BadAnnotation)
    assert (few.reason, "11 of 21 joints are labelled, 12 are needed" in few.detail) == (
        "too few joints",
        True,
    )
    # In our own lines a null may stand for a joint.
    given = [None, [None, None], *POINTS[1].tolist()[2:]]
    own = read(write_hands("handsim-jsonl", tmp_path / "b.jsonl", keypoints=given))[1]
    assert isinstance(own, AnnotatedHand)
    assert np.flatnonzero(np.isnan(own.points[:, 0])).tolist() == [0, 1]

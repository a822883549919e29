import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handsim.ingest.hand100m import (
    Annotation,
    BadAnnotation,
    count_annotations,
    keypoints_in_our_crop,
    read_annotations,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handsim import Pool
from handsim.errors import UnusableError
from handsim.geometry import apply_affine, crop_affine, invert_affine, mirror_points, square_around
from handsim.images import decode_image
from handsim.ingest import IngestOptions, NameRule, ingest
from handsim.ingest.annotated import annotation_items
from handsim.ingest.worker import process_item
from index import MinedPairs
from index.hand100m import write_hand100m
from tests.handsim.builders import BrightnessDetector, write_pictures


def make_annotation(**changes: Any) -> dict[str, Any]:
    return {
        "image_id": 3,
        "hand_id": 41,
        "boxes": "[10, 20, 60.5, 90]",
        "keypoint_25d": np.linspace(0.1, 0.9, 63).round(4).tolist(),
        "left_right": "Right",
        "positive_sample": ["77", "78"],
        "distance": [0.1, 0.2],
        **changes,
    }


def write_annotations(path: Path, *annotations: dict[str, Any], **names: str) -> Path:
    names = names or {"i3": "video7/frame_30.jpg"}
    images = [{"id": int(number[1:]), "file_name": name} for number, name in names.items()]
    path.write_text(json.dumps({"info": {}, "annotations": annotations, "images": images}))
    return path


def write_hand100m_pictures(path: Path, count: int) -> Path:
    """Annotations of one hand in each picture, which is bright on the left so that mirroring shows."""
    keypoints = (np.random.default_rng(0).random((count, 63)) * 0.8 + 0.1).round(5).tolist()
    names = {f"i{number}": f"video{number // 4}/{number}.png" for number in range(count)}
    for name in names.values():
        write_half_bright(path.parent / name)
    annotations = [
        make_annotation(
            image_id=number,
            hand_id=1000 + number,
            boxes="[10, 12, 50, 48]",
            keypoint_25d=keypoints[number],
            left_right="Left" if number % 2 else "Right",
            positive_sample=[str(1000 + (number + 4) % count)],
        )
        for number in range(count)
    ]
    return write_annotations(path, *annotations, **names)


def write_half_bright(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = 250
    Image.fromarray(pixels).save(path)


def test_annotations_are_read_whatever_comes_first(tmp_path: Path) -> None:
    path = write_annotations(
        tmp_path / "a.json", make_annotation(), make_annotation(hand_id="42", left_right="Left")
    )
    first, second = read_annotations(path)
    assert isinstance(first, Annotation)
    assert (first.file_name, first.hand_id, first.side) == ("video7/frame_30.jpg", "41", "right")
    assert first.positives == ("77", "78")
    assert first.box_px.tolist() == [10, 20, 60.5, 90]
    assert first.keypoints[0].tolist() == pytest.approx([0.1, 0.1129, 0.1258])
    assert isinstance(second, Annotation)
    assert second.side == "left"
    assert count_annotations(path) == 2


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"image_id": 9}, "image_id 9"),
        ({"boxes": "10, 20"}, "JSONDecodeError"),
        ({"boxes": "[10, 20, 10, 90]"}, "x1 > x0"),
        ({"keypoint_25d": [0.5] * 62}, "63 finite numbers"),
        ({"keypoint_25d": None}, "63 finite numbers"),
        ({"left_right": "Both"}, "'Both'"),
    ],
)
def test_a_bad_annotation_says_why_and_the_others_are_read(
    tmp_path: Path, changes: dict[str, Any], detail: str
) -> None:
    path = write_annotations(tmp_path / "a.json", make_annotation(**changes), make_annotation())
    bad, good = read_annotations(path)
    assert isinstance(bad, BadAnnotation)
    assert detail in bad.detail
    assert isinstance(good, Annotation)


def test_other_files_are_refused_and_one_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"images": [{"id": 3, "file_name": "x.jpg"}], "annotations": [make_annotation()] * 3}
    cut = json.dumps(content)[:-200]
    for text in ("", "[]", "{}", "no JSON", '{"images": [{"id": 1}]}', cut):
        path.write_text(text)
        annotations: list[object] = []
        with pytest.raises(UnusableError, match="not Hand100M annotations"):
            annotations.extend(read_annotations(path))
        assert len(annotations) == (2 if text == cut else 0)


@given(
    st.tuples(st.integers(-20, 60), st.integers(-20, 60), st.integers(8, 90), st.integers(8, 90)),
    st.sampled_from(["left", "right"]),
    st.integers(0, 2**32 - 1),
)
def test_keypoints_stay_on_their_pixels_even_at_the_border(
    box: tuple[int, int, int, int], side: Any, seed: int
) -> None:
    """Forward as the authors do it (enlarge, round down, clip, stretch), then back through ours."""
    width, height = 100, 80
    x, y, w, h = box
    box_px = np.array([x, y, x + w, y + h], dtype=np.float64)
    length = np.floor(max(w, h) * 1.3)
    centre = np.array([x + w / 2, y + h / 2])
    low = np.clip(centre - length / 2, 0, [width, height])
    high = np.clip(centre + length / 2, 0, [width, height])
    if (high - low).min() < 1:
        return
    in_picture = low + np.random.default_rng(seed).random((21, 2)) * (high - low)
    theirs = np.concatenate([(in_picture - low) / (high - low), np.zeros((21, 1))], axis=1)
    annotation = Annotation("f", "1", box_px, theirs.astype(np.float32), side, ())
    ours = keypoints_in_our_crop(annotation, width, height)
    unmirrored = mirror_points(ours, 1.0) if side == "left" else ours
    back = apply_affine(invert_affine(crop_affine(square_around(box_px), 1.0)), unmirrored)
    np.testing.assert_allclose(back[:, :2], in_picture, atol=1e-3)


@pytest.mark.slow
def test_the_authors_hands_come_with_their_keypoints_sides_and_positives(tmp_path: Path) -> None:
    path = write_hand100m_pictures(tmp_path / "Hand100M_Ego4D_50k_v1-1.json", 20)
    (tmp_path / "video3" / "13.png").unlink()
    report = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (report.pictures, report.done_now, report.hands_new) == (20, 20, 19)
    assert [(skip.file, skip.reason) for skip in report.skipped] == [("video3/13.png", "unreadable")]
    pool = Pool.open(tmp_path / "pool")
    assert set(pool.sources.names) == {"ego4d"}
    assert set(pool.videos.names) == {f"video{n}" for n in range(5)}
    by_id = {pool.hand(hand_id).external_id: pool.hand(hand_id) for hand_id in pool.hand_ids.tolist()}
    assert by_id["1007"].external_positives == ("1011",)
    assert by_id["1007"].side == "left"
    assert pool.crop(by_id["1007"].hand_id)[100, -20].mean() > 200  # mirrored: bright on the right
    assert pool.crop(by_id["1006"].hand_id)[100, 20].mean() > 200
    # The batch of 16 with the missing picture is tried again, and done once the picture is there.
    again = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (again.done_before, again.done_now, again.hands_in_pool) == (4, 16, 19)
    write_half_bright(tmp_path / "video3" / "13.png")
    whole = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (whole.hands_new, whole.skipped) == (1, [])
    assert ingest([path], tmp_path / "pool", BrightnessDetector).done_before == 20


def test_what_decides_how_annotations_are_read_decides_what_is_done_again(tmp_path: Path) -> None:
    path = write_hand100m_pictures(tmp_path / "here" / "a.json", 4)
    elsewhere = write_hand100m_pictures(tmp_path / "elsewhere" / "a.json", 4).parent

    def key(**changes: Any) -> int:
        (item,) = annotation_items(path, IngestOptions(**changes))
        return item.keys.key

    stem = NameRule("stem")
    changed = [key(images=elsewhere), key(video_from=stem), key(label_from=stem), key(source="other")]
    assert len({key(), *changed}) == 5
    assert key() == key()


def test_a_picture_without_a_video_name_does_not_end_the_file(tmp_path: Path) -> None:
    path = write_hand100m_pictures(tmp_path / "a.json", 5)
    (item,) = annotation_items(path, IngestOptions(video_from=NameRule("video0/([0-2])")))
    result = process_item(item, BrightnessDetector())
    assert len(result.hands) == 3
    assert {skip.file for skip in result.skipped} == {"video0/3.png", "video1/4.png"}
    assert "--video-from 'video0/([0-2])' does not match it" in result.skipped[0].detail


@pytest.mark.slow
def test_what_we_export_comes_back_unchanged(tmp_path: Path) -> None:
    ingest([write_pictures(tmp_path / "signs")], tmp_path / "pool", BrightnessDetector, workers=1)
    pool = Pool.open(tmp_path / "pool")
    ids = pool.hand_ids
    mined = MinedPairs(ids, np.roll(ids, -1)[:, None], np.full((len(ids), 1), 0.25, np.float32))
    for hand_id in ids.tolist():
        (tmp_path / f"{hand_id:016x}.jpg").write_bytes(pool.crop_jpeg(hand_id))
    assert write_hand100m(tmp_path / "pairs.json", pool, [mined]) == len(ids)
    (item,) = annotation_items(tmp_path / "pairs.json", IngestOptions(images=tmp_path))
    again = {hand.external_id: (hand, jpeg) for hand, jpeg in process_item(item, BrightnessDetector()).hands}
    for place, hand_id in enumerate(ids.tolist()):
        hand, jpeg = again[f"{hand_id:016x}"]
        np.testing.assert_allclose(hand.keypoints, pool.keypoints[place], atol=0.5 / 224)
        assert hand.external_positives == (f"{int(mined.positives[place, 0]):016x}",)
        assert np.abs(decode_image(jpeg).astype(int) - pool.crop(hand_id)).mean() < 3

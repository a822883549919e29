import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim.errors import UnusableError
from handsim.geometry import apply_affine, crop_affine, invert_affine, mirror_points, square_around
from handsim.ingest.hand100m import (
    Annotation,
    BadAnnotation,
    count_annotations,
    keypoints_in_our_crop,
    read_annotations,
)


def annotation(**changes: Any) -> dict[str, Any]:
    keypoints = np.linspace(0.1, 0.9, 63).round(4).tolist()
    return {
        "image_id": 3,
        "hand_id": 41,
        "boxes": "[10, 20, 60.5, 90]",
        "keypoint_25d": keypoints,
        "left_right": "Right",
        "positive_sample": ["77", "78"],
        "distance": [0.1, 0.2],
        **changes,
    }


def write(path: Path, *annotations: dict[str, Any], images: list[dict[str, Any]] | None = None) -> Path:
    images = [{"id": 3, "file_name": "video7/frame_30.jpg"}] if images is None else images
    path.write_text(json.dumps({"info": {}, "annotations": annotations, "images": images}))
    return path


def test_annotations_are_read_whatever_comes_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", annotation(), annotation(hand_id="42", left_right="Left"))
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
    ("changes", "told"),
    [
        ({"image_id": 9}, "image_id 9"),
        ({"boxes": "10, 20"}, "JSONDecodeError"),
        ({"boxes": "[10, 20, 10, 90]"}, "x1 > x0"),
        ({"keypoint_25d": [0.5] * 62}, "63 finite numbers"),
        ({"keypoint_25d": None}, "63 finite numbers"),
        ({"left_right": "Both"}, "'Both'"),
    ],
)
def test_a_bad_annotation_is_told_and_the_others_are_read(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    bad, good = read_annotations(write(tmp_path / "a.json", annotation(**changes), annotation()))
    assert isinstance(bad, BadAnnotation)
    assert told in bad.detail
    assert isinstance(good, Annotation)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"images": [{"id": 1}]}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UnusableError, match="not Hand100M annotations"):
        list(read_annotations(tmp_path / "a.json"))


def test_a_file_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps({"images": [{"id": 3, "file_name": "x.jpg"}], "annotations": [annotation()] * 3})[:-200]
    )
    kept: list[object] = []
    with pytest.raises(UnusableError):
        kept.extend(read_annotations(path))
    assert len(kept) == 2


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
    told = np.concatenate([(in_picture - low) / (high - low), np.zeros((21, 1))], axis=1).astype(np.float32)
    ours = keypoints_in_our_crop(Annotation("f", "1", box_px, told, side, ()), width, height)
    unmirrored = mirror_points(ours, 1.0) if side == "left" else ours
    back = apply_affine(invert_affine(crop_affine(square_around(box_px), 1.0)), unmirrored)
    np.testing.assert_allclose(back[:, :2], in_picture, atol=1e-3)

"""The scenes that detectors are measured with: what they show is what their truth says."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection_scenes import write_scenes
from benchmarks.hand_cutouts import render_cutouts
from benchmarks.hand_scenes import Library, Scene, make_scenes
from handsim.detection.labelled_pictures import read_labelled_pictures
from handsim.images import decode_picture
from handsim.metrics.detection import box_iou

KINDS = ["half_hidden", "clasped", "border"]


@pytest.fixture(scope="module")
def library() -> Library:
    """A few rendered hands, small ones, half of them closed."""
    rng = np.random.default_rng(0)
    hands = [hand for closed in (True, False) for hand in render_cutouts(rng, 2, 96, closed=closed)]
    return Library([], [], hands, hands[::2], [], 0)


@pytest.fixture(scope="module")
def scenes(library: Library) -> list[Scene]:
    return list(make_scenes(library, KINDS, 1, seed=3))


def test_a_scene_depends_on_the_seed_its_kind_and_its_number_alone(
    library: Library, scenes: list[Scene]
) -> None:
    (again,) = make_scenes(library, ["clasped"], 1, seed=3)
    first = next(scene for scene in scenes if scene.kind == "clasped")
    np.testing.assert_array_equal(again.image, first.image)
    (other,) = make_scenes(library, ["clasped"], 1, seed=4)
    assert other.image.shape != first.image.shape or (other.image != first.image).any()


def test_each_kind_has_the_hands_that_it_says(scenes: list[Scene]) -> None:
    by_kind = {scene.kind: scene for scene in scenes}
    first, second = by_kind["clasped"].hands
    assert 0.12 <= box_iou(first.box_px, second.box_px) <= 0.5
    behind = by_kind["half_hidden"].is_joint_seen[0]
    assert behind.any()
    assert not behind.all()
    height, width = by_kind["border"].image.shape[:2]
    joints = by_kind["border"].hands[0].joints_px
    assert joints is not None
    assert ((joints < 0) | (joints > [width, height])).any()


def test_written_scenes_are_read_back_with_their_truth(scenes: list[Scene], tmp_path: Path) -> None:
    assert list(write_scenes(iter(scenes), tmp_path)) == scenes
    read = read_labelled_pictures(tmp_path / "coco.json")
    assert not read.left_out
    for picture, scene in zip(read.pictures, scenes, strict=True):
        np.testing.assert_array_equal(decode_picture(picture.path).pixels, scene.image)
        height, width = scene.image.shape[:2]
        for hand, truth in zip(picture.true_hands((width, height)), scene.hands, strict=True):
            assert (hand.side, hand.is_ignored) == (truth.side, truth.is_ignored)
            np.testing.assert_allclose(hand.box_px, truth.box_px, atol=1e-3)
            assert hand.joints_px is not None is not truth.joints_px
            np.testing.assert_allclose(hand.joints_px, truth.joints_px, atol=1e-3)

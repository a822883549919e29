"""Views and their truth come from one affine: dots lie where the keypoints say, and joints turn with them."""

import numpy as np
import pytest
import torch

from handsim.skeleton import REFERENCE_BONE
from tests.training.finetune.builders import DrawnHands, dot_colour
from training.augmentation import AugmentationSettings, AugmentedViews, augment
from training.finetune.config import finetuning_views
from training.finetune.data import CropSettings, HandBatch, HandReader, in_order
from training.finetune.module import crop_intrinsics, make_targets, rotate_joints, view_intrinsics

HANDS = 6
PLAIN = AugmentationSettings(
    rotation_deg=45, margin=(1.4, 2.1), jitter_px=(-15, 15), hue=(1, 1), saturation=(1, 1), value=(1, 1),
    brightness=(0, 0),
)  # fmt: skip
"""As `finetuning_views`, without changes of colour."""


def _batch(dataset: DrawnHands) -> HandBatch:
    reader = HandReader(dataset, CropSettings(2.6, 224), pin=False)
    (batch,) = reader.read(in_order(np.arange(len(dataset)), len(dataset)))
    reader.close()
    return batch


def _views(batch: HandBatch, settings: AugmentationSettings = PLAIN) -> AugmentedViews:
    return augment(batch.crops, batch.keypoints, settings, torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def batch() -> HandBatch:
    return _batch(DrawnHands(HANDS, scale=2.5))


def test_drawn_dots_land_where_keypoints_say(batch: HandBatch) -> None:
    views = _views(batch)
    seen = 0
    for image, keypoints in zip(views.images, views.keypoints, strict=True):
        pixels = image.permute(1, 2, 0).numpy() * 255
        for joint, place in enumerate(keypoints.numpy() * 128):
            if not ((place > 6) & (place < 122)).all():
                continue
            near = np.abs(pixels - dot_colour(joint)).max(axis=2) < 60
            rows, columns = near.nonzero()
            own = np.hypot(columns + 0.5 - place[0], rows + 0.5 - place[1]) < 6
            assert own.any(), joint
            centre = np.array([columns[own].mean(), rows[own].mean()]) + 0.5
            assert centre == pytest.approx(place, abs=0.8)
            seen += 1
    assert seen > 0.9 * HANDS * 21
    assert views.angle_deg.abs().max() > 10, "they were turned"


def test_joints_project_onto_the_turned_view(batch: HandBatch) -> None:
    """A camera that was turned with the view sees turned joints exactly at the view's keypoints."""
    views = _views(batch)
    joints = rotate_joints(batch.joints_mm, views.angle_deg).double()
    seen = joints @ view_intrinsics(batch, views).double().mT
    assert (seen[..., :2] / seen[..., 2:]).numpy() == pytest.approx(
        views.keypoints.double().numpy(), abs=1e-4
    )


def test_crops_camera_sees_joints_at_the_crops_keypoints(batch: HandBatch) -> None:
    seen = batch.joints_mm.double() @ crop_intrinsics(batch.squares_px, batch.intrinsics).mT
    assert (seen[..., :2] / seen[..., 2:]).numpy() == pytest.approx(
        batch.keypoints.double().numpy(), abs=1e-5
    )


def test_targets_are_counted_in_reference_bones(batch: HandBatch) -> None:
    views = _views(batch)
    targets = make_targets(batch, views)
    root, end = REFERENCE_BONE
    assert targets.has_scale.all()
    assert (targets.joints[:, root] == 0).all()
    assert targets.joints[:, end].norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    for row, joints_mm in enumerate(batch.joints_mm.double().numpy()):
        angle = np.deg2rad(float(views.angle_deg[row]))
        # Counter-clockwise as displayed, with y pointing down.
        turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        relative = joints_mm - joints_mm[root]
        expected = relative @ turn.T / np.linalg.norm(relative[end])
        assert targets.joints[row].numpy() == pytest.approx(expected, abs=1e-5)


def test_bones_point_where_they_are_seen_to(batch: HandBatch) -> None:
    """An angle of the wrong sign would be off by up to 90 degrees; perspective takes a few."""
    views = _views(batch)
    targets = make_targets(batch, views)
    root, end = REFERENCE_BONE
    seen = views.keypoints[:, end] - views.keypoints[:, root]
    annotated = targets.joints[:, end, :2]
    apart = torch.rad2deg(torch.atan2(seen[:, 1], seen[:, 0]) - torch.atan2(annotated[:, 1], annotated[:, 0]))
    assert ((apart + 180) % 360 - 180).abs().max() < 8


def test_masks_go_through_and_hide_what_is_not_known() -> None:
    batch = _batch(DrawnHands(4, invalid={0: [5, 6], 1: [9], 2: [0], 3: list(range(21))}))
    targets = make_targets(batch, _views(batch))
    assert targets.valid.sum(dim=1).tolist() == [19, 20, 20, 0]
    assert targets.has_scale.tolist() == [True, False, False, False]
    assert torch.isfinite(targets.joints).all()
    assert torch.isfinite(targets.keypoints).all()
    assert (targets.joints[1:] == 0).all()
    assert (targets.joints[0, [5, 6]] == 0).all()


def test_a_bone_without_length_tells_no_scale(batch: HandBatch) -> None:
    batch = _batch(DrawnHands(2))
    batch.joints_mm[0, REFERENCE_BONE[1]] = batch.joints_mm[0, REFERENCE_BONE[0]]
    targets = make_targets(batch, _views(batch))
    assert targets.has_scale.tolist() == [False, True]
    assert torch.isfinite(targets.joints).all()


def test_joints_without_annotation_change_no_view() -> None:
    """The view is laid around those that are there."""
    dataset = DrawnHands(1, invalid={0: [2, 3, 11]})
    batch = _batch(dataset)
    known = batch.keypoints[:, batch.valid[0]]
    views = _views(batch)
    inside = views.keypoints[:, batch.valid[0]]
    middle = torch.cat([known.mean(1), torch.ones(1, 1)], 1) @ views.affine[0].T
    assert inside.mean(1).numpy() == pytest.approx(middle.numpy(), abs=1e-5)
    extent = (inside.amax(1) - inside.amin(1)).amax()
    assert 1 / 2.1 - 1e-6 <= float(extent) <= 1 / 1.4 + 1e-6


def test_views_for_fine_tuning_keep_a_hands_colours_apart(batch: HandBatch) -> None:
    views = _views(batch, finetuning_views())
    assert views.images.min() >= 0
    assert views.images.max() <= 1
    assert not torch.equal(views.images, _views(batch).images)
    assert torch.equal(views.keypoints, _views(batch).keypoints)

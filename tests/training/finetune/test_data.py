"""Labelled hands cut out of their pictures, in batches, and the targets of their views."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handsim.errors import HandsimError
from handsim.geometry import apply_affine, crop_affine
from handsim.skeleton import REFERENCE_BONE
from tests.training.drawn_hands import DrawnHands, dot_colour
from training.augmentation import AugmentationSettings, AugmentedViews, augment
from training.datasets.record import HandLabel, LabelledHand
from training.finetune.config import finetuning_views
from training.finetune.data import (
    HandBatch,
    HandLoader,
    HandReader,
    cut_hand,
    in_order,
    labelled_share,
    sample_groups,
)
from training.finetune.module import crop_intrinsics, make_targets, rotate_joints, view_intrinsics
from training.finetune.pose_model import CropSettings, hand_square

ALL = np.ones(21, np.bool_)


def test_the_square_has_the_box_in_its_middle_also_of_a_straight_line() -> None:
    points = np.full((21, 2), 30.0)
    points[3], points[7] = (10, 20), (50, 40)
    assert hand_square(points, ALL, (100, 80), 1.75) == pytest.approx([-5, -5, 65, 65])
    some = ALL.copy()
    some[7] = False
    assert hand_square(points, some, (100, 80), 2.0) == pytest.approx([0, 5, 40, 45])
    line = np.stack([np.zeros(21), np.linspace(10, 30, 21)], axis=1)
    assert hand_square(line, ALL, (100, 80), 1.5) == pytest.approx([-15, 5, 15, 35])


@pytest.mark.parametrize("keep", [[], [5]])
def test_too_few_joints_take_the_whole_picture(keep: list[int]) -> None:
    valid = np.zeros(21, np.bool_)
    valid[keep] = True
    assert hand_square(np.full((21, 2), 7.0), valid, (100, 80), 1.75) == pytest.approx([0, -10, 100, 90])


@pytest.mark.parametrize("factor", [1.0, 1.75, 2.6])
def test_dots_lie_where_the_crops_keypoints_are(factor: float) -> None:
    hand = DrawnHands(1, scale=2.5)[0]
    cut = cut_hand(hand, CropSettings(factor, 160))
    assert cut.crop.shape == (160, 160, 3)
    back = apply_affine(crop_affine(cut.square_px, 1.0), hand.keypoints_2d_px.astype(np.float64))
    assert cut.keypoints == pytest.approx(back, abs=1e-6)
    extent = cut.keypoints.max(axis=0) - cut.keypoints.min(axis=0)
    assert extent.max() == pytest.approx(1 / factor, abs=1e-6)
    for joint, (x, y) in enumerate(cut.keypoints * 160):
        if 1 < x < 159 and 1 < y < 159:
            assert np.abs(cut.crop[int(y), int(x)].astype(int) - dot_colour(joint)).max() < 40, joint


def test_joints_without_annotation_lie_in_the_middle_of_the_others() -> None:
    hand = DrawnHands(1, invalid={0: [4, 8]})[0]
    cut = cut_hand(hand, CropSettings(1.75, 32))
    middle = cut.keypoints[hand.valid].mean(axis=0)
    assert cut.keypoints[[4, 8]] == pytest.approx(np.stack([middle, middle]), abs=1e-6)
    none = cut_hand(replace(hand, valid=np.zeros(21, np.bool_)), CropSettings(1.75, 32))
    assert (none.keypoints == 0.5).all()


CROP = CropSettings(2.0, 24)
ROWS = np.arange(1, 38, 2)
"""19 of the 40 hands."""


def _loader(
    batch_size: int = 4, rank: int = 0, world_size: int = 1, workers: int = 0
) -> "closing[HandLoader]":
    loader = HandLoader(
        DrawnHands(40), ROWS, CROP, batch_size=batch_size, seed=5, rank=rank, world_size=world_size,
        workers=workers, pin=False,
    )  # fmt: skip
    return closing(loader)


def _ids(batch: HandBatch) -> list[str]:
    return list(batch.sample_ids)


def test_a_batch_has_the_crops_and_labels_of_its_hands() -> None:
    dataset = DrawnHands(40, invalid={3: [2, 9]})
    with (
        closing(HandReader(dataset, CROP, pin=False)) as reader,
        reader.prefetch(in_order(ROWS, 8)) as batches,
    ):
        read = list(batches)
    assert [len(batch) for batch in read] == [8, 8, 3]
    assert [batch.number for batch in read] == [0, 1, 2]
    row = iter(ROWS.tolist())
    for batch in read:
        for place in range(len(batch)):
            hand = dataset[next(row)]
            cut = cut_hand(hand, CROP)
            assert batch.sample_ids[place] == hand.sample_id
            assert (batch.crops[place].numpy() == cut.crop).all()
            assert (batch.keypoints[place].numpy() == cut.keypoints).all()
            assert (batch.squares_px[place].numpy() == cut.square_px).all()
            assert (batch.intrinsics[place].numpy() == hand.intrinsics).all()
            assert (batch.valid[place].numpy() == hand.valid).all()
            joints = np.where(hand.valid[:, None], hand.joints_3d_mm, 0)
            assert (batch.joints_mm[place].numpy() == joints).all()


class _Counted(DrawnHands):
    """Counts how often a hand is read."""

    reads = 0

    def __getitem__(self, index: int) -> LabelledHand:
        self.reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(("limit", "reads"), [(3 * 40 * 24**2, 19), (3 * 40 * 24**2 - 1, 57)])
def test_hands_that_fit_into_memory_are_read_once(
    monkeypatch: pytest.MonkeyPatch, limit: int, reads: int
) -> None:
    """And are the same each time."""
    monkeypatch.setattr("training.finetune.data.MAX_KEPT_BYTES", limit)
    dataset = _Counted(40)
    with closing(HandReader(dataset, CROP, pin=False, keep=True)) as reader:
        first, *others = ([*reader.read(in_order(ROWS, 8))] for _ in range(3))
    assert dataset.reads == reads
    for batches in others:
        for batch, before in zip(batches, first, strict=True):
            assert batch.sample_ids == before.sample_ids
            assert torch.equal(batch.crops, before.crops)
            assert torch.equal(batch.joints_mm, before.joints_mm)


def test_an_epoch_has_no_hand_twice() -> None:
    with _loader() as loader:
        assert loader.batches_an_epoch == 4
        epochs = [[name for batch in loader.epoch(epoch) for name in _ids(batch)] for epoch in range(3)]
    for names in epochs:
        assert len(set(names)) == 16
        assert set(names) <= {f"train/{row:05d}" for row in ROWS}
    assert epochs[0] != epochs[1]


def test_any_batch_can_be_the_first() -> None:
    with _loader() as loader:
        whole = {(e, b.number): b for e in range(2) for b in loader.epoch(e)}
    with _loader() as loader:
        for epoch, first in ((1, 2), (0, 1), (0, 3), (1, 0)):
            batch = next(loader.epoch(epoch, first))
            assert (batch.epoch, batch.number) == (epoch, first)
            assert _ids(batch) == _ids(whole[epoch, first])
            assert torch.equal(batch.crops, whole[epoch, first].crops)


def test_processes_share_the_batches_of_one() -> None:
    with _loader(6) as one, _loader(3, 0, 2) as left, _loader(3, 1, 2) as right:
        for whole, *halves in zip(one.epoch(0), left.epoch(0), right.epoch(0), strict=True):
            assert _ids(whole) == [name for half in halves for name in _ids(half)]


@pytest.mark.slow
def test_worker_processes_make_the_same_batches() -> None:
    with _loader() as threads, _loader(workers=1) as processes:
        for one, other in zip(threads.epoch(0), processes.epoch(0), strict=True):
            assert _ids(one) == _ids(other)
            assert torch.equal(one.crops, other.crops)
            assert torch.equal(one.joints_mm, other.joints_mm)


def test_too_few_hands_for_a_batch_are_refused() -> None:
    with pytest.raises(HandsimError, match=r"a batch of 20 hands takes 20, and there are 19 of drawn"):
        _loader(20)
    with pytest.raises(HandsimError, match=r"10 hands on each of 2 processes takes 20"):
        _loader(10, 1, 2)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_damaged_picture_is_an_error(workers: int) -> None:
    reader = HandReader(DrawnHands(9, damaged=7), CROP, workers=workers, pin=False)
    with closing(reader), reader.prefetch(in_order(np.arange(9), 4)) as batches:
        assert len(next(batches)) == 4
        with pytest.raises(HandsimError, match=r"^the picture of hand 7 is cut short$"):
            list(batches)


@settings(max_examples=30)
@given(
    hands=st.integers(1, 400),
    shares=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    seed=st.integers(0, 9),
)
def test_a_smaller_share_is_part_of_a_larger_one(hands: int, shares: tuple[float, float], seed: int) -> None:
    groups = np.arange(hands, dtype=np.int64)
    few, many = (sample_groups(groups, share, seed) for share in sorted(shares))
    assert set(few.tolist()) <= set(many.tolist())
    assert len(few) >= 1
    assert (np.diff(few) > 0).all()
    assert len(many) == pytest.approx(max(shares) * hands, abs=1)


def test_every_hand_is_sampled_equally_often() -> None:
    """Each is in a tenth of the draws."""
    draws = [sample_groups(np.arange(30), 0.1, seed) for seed in range(300)]
    counts = np.bincount(np.concatenate(draws), minlength=30)
    assert 10 < counts.min() <= counts.max() < 60


@settings(max_examples=30)
@given(
    groups=st.lists(st.integers(0, 12), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 9),
)
def test_members_of_a_group_are_sampled_together(groups: list[int], share: float, seed: int) -> None:
    of_hands = np.array(groups, dtype=np.int64)
    rows = sample_groups(of_hands, share, seed)
    chosen = set(of_hands[rows].tolist())
    assert rows.tolist() == [row for row, group in enumerate(groups) if group in chosen]


class _Versions(DrawnHands):
    """Every hand four times, as FreiHAND has it."""

    name = "freihand"

    def label(self, index: int) -> HandLabel:
        label = super().label(index)
        return HandLabel(**{**vars(label), "subject": f"training/{index % (len(self) // 4):08d}"})


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.7])
def test_freihand_versions_stay_together(fraction: float) -> None:
    rows = labelled_share(_Versions(80), fraction, seed=3)
    assert len(rows) == 4 * round(fraction * 20)
    hands = rows.reshape(4, -1) % 20
    assert (hands == hands[0]).all()


def test_seeds_give_different_shares_and_1_gives_all_hands() -> None:
    dataset = DrawnHands(100)
    assert labelled_share(dataset, 1.0, seed=1).tolist() == list(range(100))
    ten = {seed: labelled_share(dataset, 0.1, seed).tolist() for seed in range(5)}
    assert all(len(rows) == 10 for rows in ten.values())
    assert len({tuple(rows) for rows in ten.values()}) == 5
    assert labelled_share(dataset, 0.07, 1).tolist() == [
        row for row in ten[1] if row in labelled_share(dataset, 0.07, 1)
    ]
    assert len(labelled_share(dataset, 0.07, 1)) == 7


def test_the_first_share_is_in_the_order_of_the_split_and_has_freihands_first_version() -> None:
    """The other backgrounds are not seen."""
    assert labelled_share(_Versions(80), 0.1, 3, "first").tolist() == list(range(8))
    assert labelled_share(DrawnHands(100), 0.07, 1, "first").tolist() == list(range(7))
    assert labelled_share(DrawnHands(100), 1.0, 1, "first").tolist() == list(range(100))
    assert labelled_share(DrawnHands(100), 0.001, 1, "first").tolist() == [0]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(HandsimError, match=r"split train of drawn has no hands"):
        labelled_share(DrawnHands(0), 1.0, seed=1)


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


def test_the_camera_of_a_crop_sees_joints_at_the_crops_keypoints(batch: HandBatch) -> None:
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


def test_a_bone_without_length_gives_no_scale() -> None:
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

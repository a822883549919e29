"""Hands of a labelled dataset in a pool, with their joints in 3D: what the index finds there can be measured.

A hand's keypoints are those of its labels, projected into the picture; z is the depth below the wrist, as a
detector gives it. Its video is its person (`HandLabel.subject`): pairs are never of one person, nor of two
cameras that see one moment. Everything comes from the record, so that every dataset can be read.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.annotations.annotated_hand import DEFAULT_MIN_JOINTS, box_around_joints, check_box
from handsim.errors import HandsimError, UnusableError
from handsim.geometry import (
    CROP_ENLARGEMENT,
    POOL_ENLARGEMENT,
    apply_affine,
    crop_affine,
    mirror_points,
    square_around,
)
from handsim.hand import Hand, make_hand_id
from handsim.images import encode_crop
from handsim.pool import ItemRecord, PoolWriter
from handsim.pool.writer import UNREADABLE, Skip
from handsim.skeleton import JOINT_COUNT, WRIST
from training.datasets.open_dataset import WHOLE_DATASETS, known_splits, open_dataset
from training.datasets.record import HandLabel, LabelledHand, StoredDataset

Progress = Callable[[int, int], None]
"""Called with hands done and hands in all."""


@dataclass
class PoolReport:
    """What `add_to_pool` did with the hands of the splits."""

    hands: int = 0
    """Of all splits; one that is in two of them counts twice."""
    added: int = 0
    """New in the pool."""
    known: int = 0
    """Looked at by an earlier run, or in another split."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason -> hands that cannot be used for it."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> the first of these hands, and what is wrong with it."""

    def add_skip(self, skip: Skip) -> None:
        self.skipped[skip.reason] += 1
        self.examples.setdefault(skip.reason, f"{skip.file}: {skip.detail}")


def add_to_pool(
    pool_dir: Path,
    name: str,
    root: Path,
    splits: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> PoolReport:
    """Add the hands of some splits of a dataset, or of those that make up the whole set, to a pool.

    The pool is made when it is not there. Hands that it has are not read again, so a run that was stopped
    goes on where it was. A hand that cannot be used (damaged, outside its picture, too few joints) is left
    out and counted; a damaged one is tried again by the next run. Raises HandsimError for an unknown name or
    split, for a dataset that cannot be opened, and where the pool is being written by another process.
    """
    known = known_splits(name)
    datasets = [open_dataset(name, root, split) for split in splits or WHOLE_DATASETS.get(name, known)]
    report = PoolReport(hands=sum(map(len, datasets)))
    with PoolWriter(pool_dir, crop_enlargement=POOL_ENLARGEMENT) as writer:
        done = 0
        for dataset in datasets:
            for index in range(len(dataset)):
                _add_hand(writer, dataset, index, report)
                done += 1
                if progress is not None:
                    progress(done, report.hands)
    return report


def _add_hand(writer: PoolWriter, dataset: StoredDataset, index: int, report: PoolReport) -> None:
    place = f"hand {index} of {dataset.split}"
    try:
        label = dataset.label(index)
        place = label.sample_id
        key = make_hand_id(dataset.name, label.subject, 0, 0, label.sample_id)
        if key in writer.known_items:
            report.known += 1
            return
        try:
            box_px = _find_box(label)
        except UnusableError as error:
            skip = Skip(place, error.reason, error.detail)
            writer.add_item(ItemRecord(key, pictures=1, hands=0, skipped=(skip,)), [])
            report.add_skip(skip)
            return
        hand = _make_hand(dataset.name, dataset[index], box_px, key, writer.crop_enlargement)
    except HandsimError as error:
        report.add_skip(Skip(place, UNREADABLE, str(error)))
        return
    report.added += writer.add_item(ItemRecord(key, pictures=1, hands=1), [hand])


def _find_box(label: HandLabel) -> NDArray[np.float64]:
    """[4] around the labelled joints of the right hand; raises UnusableError for a hand that has no place."""
    points = label.keypoints_2d_px[_is_labelled(label)].astype(np.float64)
    if len(points) < DEFAULT_MIN_JOINTS:
        found = f"{len(points)} of {JOINT_COUNT} joints are annotated, {DEFAULT_MIN_JOINTS} are needed"
        raise UnusableError("too few joints", found)
    box_px = box_around_joints(points)
    check_box(box_px, label.size_px)
    return np.array(box_px)


def _is_labelled(label: HandLabel) -> NDArray[np.bool_]:
    """[21] which joints are annotated and have a place in the picture."""
    return np.asarray(label.valid & np.isfinite(label.keypoints_2d_px).all(axis=1))


def _make_hand(
    dataset: str, sample: LabelledHand, box_px: NDArray[np.float64], hand_id: int, enlargement: float
) -> tuple[Hand, bytes]:
    crop = crop_affine(square_around(box_px, CROP_ENLARGEMENT), 1.0)
    is_labelled = _is_labelled(sample)
    keypoints = np.full((JOINT_COUNT, 3), np.nan)
    keypoints[:, :2] = apply_affine(crop, sample.keypoints_2d_px.astype(np.float64))
    keypoints[:, 2] = _relative_depth(sample) * crop[0, 0]
    keypoints[~is_labelled] = np.nan
    joints = np.where(sample.valid[:, None], sample.joints_3d_mm, np.nan).astype(np.float32)
    original_px = box_px
    if sample.side == "left":  # the record is mirrored, the box is that of the picture as it was
        corners = mirror_points(box_px.reshape(2, 2), sample.size_px[0])
        original_px = np.array([corners[1, 0], corners[0, 1], corners[0, 0], corners[1, 1]])
    numbers = re.findall(r"\d{1,18}", sample.sample_id)
    hand = Hand(
        hand_id=hand_id,
        source=dataset,
        video=sample.subject,
        frame=int(numbers[-1]) if numbers else 0,
        side=sample.side,
        score=1.0,
        box_px=original_px.astype(np.float32),
        keypoints=keypoints.astype(np.float32),
        file=sample.sample_id,
        joints_mm=joints if np.isfinite(joints).any() else None,
    )
    return hand, encode_crop(sample.image, square_around(box_px, enlargement), mirrored=False)


def _relative_depth(label: HandLabel) -> NDArray[np.float64]:
    """[21] how much further than the wrist joints are, in pixels at its distance.

    0, which is no depth, for all joints of a hand of which the depth of one labelled joint, or the wrist's,
    is not known: z of some joints alone would say that the others lie at the wrist's depth.
    """
    depth = label.joints_3d_mm[:, 2].astype(np.float64)
    if not (depth[WRIST] > 0 and np.isfinite(depth[_is_labelled(label)]).all()):
        return np.zeros(JOINT_COUNT)
    relative: NDArray[np.float64] = (depth - depth[WRIST]) / depth[WRIST] * label.intrinsics[0, 0]
    return relative

"""Labelled hands as the trainer gets them: which hands of a split, cut out of their pictures, in batches.

A hand is cut out once, in a square around its annotated 2D joints. Keypoints of a crop are finite everywhere:
joints that are not annotated lie at the mean of those that are. Pictures are read, decoded and cut by worker
processes, or by threads, some batches ahead of the trainer.
"""

import math
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.errors import HandsimError
from handsim.geometry import apply_affine, crop_affine, cut_crop
from handsim.hand import Side
from handsim.metrics.alignment import SHORTEST_MM
from handsim.skeleton import JOINT_NAMES, REFERENCE_BONE
from training.datasets.record import HandDataset, LabelledHand, lies_in_picture
from training.finetune.pose_model import CropSettings, hand_square
from training.pairs.loader import AnchorBatches
from training.runs.prefetch import Prefetcher
from training.runs.workers import WorkerProcesses, Workers, WorkerThreads

_CHUNK_HANDS: Final = 16
"""Hands that a worker reads in one go: few, so that all workers share one batch."""
_CHUNK_LABELS: Final = 256
"""Labels without their images."""
_BATCHES_READY: Final = 2
"""Batches in memory beside the trainer's; they are large."""
MAX_KEPT_BYTES: Final = 2**30
"""Of crops in memory: 28,000 of 112 pixels."""
_SHARE_STREAM: Final = 2
"""Apart from the streams of random numbers that `training.pairs.loader` draws with the same seed."""
MAX_LABELS_READ: Final = 2000
"""For the mean length of a bone, spread evenly, because hands of one person follow each other."""


@dataclass(frozen=True, eq=False)
class CroppedHand:
    crop: NDArray[np.uint8]
    """[S, S, 3] RGB."""
    square_px: NDArray[np.float64]
    """[4] the part of the picture; it may reach outside, where edge pixels are repeated."""
    keypoints: NDArray[np.float32]
    """[21, 2] in the crop's unit square; the mean of the valid ones where not ``valid``, else 0.5."""


def cut_hand(hand: LabelledHand, settings: CropSettings) -> CroppedHand:
    square = hand_square(hand.keypoints_2d_px, hand.valid, hand.size_px, settings.factor)
    keypoints = apply_affine(crop_affine(square, size=1.0), hand.keypoints_2d_px.astype(np.float64))
    middle = keypoints[hand.valid].mean(axis=0) if hand.valid.any() else np.full(2, 0.5)
    keypoints = np.where(hand.valid[:, None], keypoints, middle)
    return CroppedHand(cut_crop(hand.image, square, settings.size_px), square, keypoints.astype(np.float32))


@dataclass(frozen=True, eq=False)
class HandBatch:
    """B labelled hands in their crops, all as right hands."""

    sample_ids: tuple[str, ...]
    """[B] the dataset's names for them."""
    subjects: tuple[str, ...]
    """[B] whose hands they are, as far as the dataset says."""
    sides: tuple[Side, ...]
    """[B] the subjects' own hands; left ones are mirrored."""
    crops: Tensor
    """uint8 [B, S, S, 3], RGB."""
    keypoints: Tensor
    """float32 [B, 21, 2] in the crop's unit square; finite everywhere, see `CroppedHand`."""
    joints_mm: Tensor
    """float32 [B, 21, 3] in the camera frame; 0 where not ``valid``."""
    valid: Tensor
    """bool [B, 21] which joints are annotated."""
    squares_px: Tensor
    """float64 [B, 4] where the crops lie in their pictures."""
    intrinsics: Tensor
    """float64 [B, 3, 3] K of the pictures."""
    in_picture: tuple[bool, ...]
    """[B] whether enough of each hand lies in its picture."""
    epoch: int = 0
    """From 0."""
    number: int = 0
    """Of the batch in its epoch, from 0."""
    waited_s: float = 0.0
    """Seconds for which the trainer waited for it."""

    @classmethod
    def concatenate(cls, parts: Sequence["HandBatch"], epoch: int, number: int, *, pin: bool) -> "HandBatch":
        """One batch from several; with ``pin`` in page-locked memory, which a GPU copies in the
        background."""

        def cat(tensors: Sequence[Tensor]) -> Tensor:
            shape = (sum(len(tensor) for tensor in tensors), *tensors[0].shape[1:])
            return torch.cat(list(tensors), out=torch.empty(shape, dtype=tensors[0].dtype, pin_memory=pin))

        return cls(
            sample_ids=tuple(name for part in parts for name in part.sample_ids),
            subjects=tuple(name for part in parts for name in part.subjects),
            sides=tuple(side for part in parts for side in part.sides),
            crops=cat([part.crops for part in parts]),
            keypoints=cat([part.keypoints for part in parts]),
            joints_mm=cat([part.joints_mm for part in parts]),
            valid=cat([part.valid for part in parts]),
            squares_px=cat([part.squares_px for part in parts]),
            intrinsics=cat([part.intrinsics for part in parts]),
            in_picture=tuple(is_in for part in parts for is_in in part.in_picture),
            epoch=epoch,
            number=number,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "HandBatch":
        """The same batch with the tensors that a network needs on a device; squares and K stay."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return replace(
            self,
            crops=move(self.crops),
            keypoints=move(self.keypoints),
            joints_mm=move(self.joints_mm),
            valid=move(self.valid),
        )

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True, eq=False)
class BatchPlan:
    epoch: int
    """From 0."""
    number: int
    """Of the batch in its epoch, from 0."""
    rows: NDArray[np.integer]
    """[B] of the dataset."""


def in_order(rows: NDArray[np.integer], batch_size: int) -> Iterator[BatchPlan]:
    """Each of the rows once; the last batch may be smaller."""
    for number, start in enumerate(range(0, len(rows), batch_size)):
        yield BatchPlan(0, number, rows[start : start + batch_size])


class HandReader:
    """Makes batches of a dataset's hands, some ahead of the trainer."""

    def __init__(
        self,
        dataset: HandDataset,
        settings: CropSettings,
        *,
        workers: int = 0,
        pin: bool | None = None,
        keep: bool = False,
    ) -> None:
        """``workers`` processes read, 0: threads of this one. Nothing is started before the first batch.

        ``pin`` puts batches into page-locked memory, None: where there is a GPU. ``keep``: hands are read
        again and again; threads then keep the crops of a small split in memory.
        """
        cut = _CutHands(dataset, settings, keep=keep and not workers)
        self._pin = torch.cuda.is_available() if pin is None else pin
        self._workers: Workers[NDArray[np.integer], HandBatch] = (
            WorkerProcesses(cut, workers) if workers else WorkerThreads(cut, "handsim-read")
        )

    @contextmanager
    def prefetch(self, plans: Iterable[BatchPlan]) -> Iterator[Iterator[HandBatch]]:
        """The batches in their order, made on a thread; one such block may be open at a time.

        Raises HandsimError for a hand that cannot be read.
        """
        batches = Prefetcher(self.read(plans), _BATCHES_READY, "handsim-assemble")
        batches.start()
        try:
            yield batches
        finally:
            batches.close()

    def read(self, plans: Iterable[BatchPlan]) -> Generator[HandBatch, None, None]:
        """The batches in their order, on the calling thread; raises as `prefetch` does."""
        pending: deque[BatchPlan] = deque()

        def chunks() -> Iterator[NDArray[np.integer]]:
            for plan in plans:
                pending.append(plan)
                for start in range(0, len(plan.rows), _CHUNK_HANDS):
                    yield plan.rows[start : start + _CHUNK_HANDS]

        parts: list[HandBatch] = []
        for part in self._workers.map(chunks()):
            parts.append(part)
            plan = pending[0]
            if sum(map(len, parts)) == len(plan.rows):
                yield HandBatch.concatenate(parts, plan.epoch, plan.number, pin=self._pin)
                pending.popleft()
                parts = []

    def close(self) -> None:
        """End threads and processes; no batch may be read meanwhile."""
        self._workers.close()


class _CutHands:
    """In a worker: from rows of the dataset to hands in their crops."""

    def __init__(self, dataset: HandDataset, settings: CropSettings, *, keep: bool) -> None:
        self._dataset, self._settings = dataset, settings
        self._keep = keep and 3 * len(dataset) * settings.size_px**2 <= MAX_KEPT_BYTES
        self._kept: dict[int, HandBatch] = {}  # a dict can be shared by threads; two may cut the same hand

    def __call__(self, rows: NDArray[np.integer]) -> HandBatch:
        hands = [self._kept.get(row) or self._cut(row) for row in rows.tolist()]
        if self._keep:
            self._kept.update(zip(rows.tolist(), hands, strict=True))
        return HandBatch.concatenate(hands, epoch=0, number=0, pin=False)

    def _cut(self, row: int) -> HandBatch:
        """One hand."""
        hand = self._dataset[row]
        cut = cut_hand(hand, self._settings)
        joints_mm = np.where(hand.valid[:, None], hand.joints_3d_mm, 0).astype(np.float32)
        return HandBatch(
            sample_ids=(hand.sample_id,),
            subjects=(hand.subject,),
            sides=(hand.side,),
            crops=torch.tensor(cut.crop)[None],
            keypoints=torch.tensor(cut.keypoints)[None],
            joints_mm=torch.tensor(joints_mm)[None],
            valid=torch.tensor(hand.valid)[None],
            squares_px=torch.tensor(cut.square_px)[None],
            intrinsics=torch.tensor(hand.intrinsics)[None],
            in_picture=(lies_in_picture(hand),),
        )


class HandLoader:
    """Shuffled batches of the hands to train on.

    Which hands a batch holds follows from (seed, epoch, number) alone, as in pre-training: see
    `training.pairs.loader.AnchorBatches`, whose order this is.
    """

    batches_an_epoch: int
    """How many batches an epoch has; hands that are left over sit it out, other ones every time."""
    fingerprint: str
    """16 hex digits: with equal ones and an equal seed, batches are the same."""

    def __init__(
        self,
        dataset: HandDataset,
        rows: NDArray[np.int64],
        settings: CropSettings,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        pin: bool | None = None,
    ) -> None:
        """Batches of ``batch_size`` of the dataset's ``rows`` on each of ``world_size`` ranks.

        Nothing is started before the first batch. Raises HandsimError where the hands make no batch.
        """
        if batch_size * world_size > len(rows):
            ranks = f" on each of {world_size} processes" if world_size > 1 else ""
            raise HandsimError(
                f"a batch of {batch_size:,} hands{ranks} takes {batch_size * world_size:,}, and there are "
                f"{len(rows):,} of {dataset.name}; lower trainer.batch_size, or raise data.label_fraction"
            )
        self._order = AnchorBatches(
            rows.astype(np.uint64), batch_size, seed, rank=rank, world_size=world_size
        )
        self.batches_an_epoch, self.fingerprint = self._order.batches_an_epoch, self._order.fingerprint
        self._reader = HandReader(dataset, settings, workers=workers, pin=pin, keep=True)
        self._prefetching = ExitStack()
        self._batches: Iterator[HandBatch] = iter(())
        self._next: tuple[int, int] | None = None

    def epoch(self, epoch: int, first: int = 0) -> Iterator[HandBatch]:
        """Batches ``first`` and following of an epoch, both counted from 0.

        Batches of the next epoch are prepared before this one ends. Raises HandsimError for a hand that
        cannot be read.
        """
        for number in range(first, self.batches_an_epoch):
            yield self._take(epoch, number)

    def close(self) -> None:
        self._prefetching.close()
        self._reader.close()

    def _take(self, epoch: int, number: int) -> HandBatch:
        if self._next != (epoch, number):  # it nearly always is
            self._prefetching.close()
            self._batches = self._prefetching.enter_context(self._reader.prefetch(self._plans(epoch, number)))
        self._next = None  # so that after an error the next call begins anew
        since = time.perf_counter()
        batch = next(self._batches)
        at_end = number + 1 == self.batches_an_epoch
        self._next = (epoch + 1, 0) if at_end else (epoch, number + 1)
        return replace(batch, waited_s=time.perf_counter() - since)

    def _plans(self, epoch: int, number: int) -> Iterator[BatchPlan]:
        """All from this one on, over the ends of epochs."""
        while True:
            yield BatchPlan(epoch, number, self._order.batch(epoch, number).astype(np.int64))
            number += 1
            if number == self.batches_an_epoch:
                epoch, number = epoch + 1, 0


def labelled_share(
    dataset: HandDataset, fraction: float, seed: int, subset: Literal["random", "first"] = "random"
) -> NDArray[np.int64]:
    """Rising indices of the hands [n] that make up ``fraction`` (0 to 1) of the annotations, at least one.

    They are drawn with ``seed``, or the ``first`` ones: hands of the split in its order, each one annotation.

    A smaller share is part of every larger one of the same seed: curves over label fractions then differ only
    by what is added. FreiHAND has each hand four times, before four backgrounds, with the same labels
    (Zimmermann et al., ICCV 2019): these are one annotation. In other datasets each hand is one. Raises
    HandsimError for an empty dataset.
    """
    if len(dataset) == 0:
        raise HandsimError(f"split {dataset.split} of {dataset.name} has no hands; choose another one")
    annotations = np.arange(len(dataset), dtype=np.int64)
    if fraction == 1:
        return annotations
    if subset == "first":
        return annotations[: _share_of(len(annotations), fraction)]
    if dataset.name == "freihand":
        hands = [dataset.label(row).subject for row in range(len(dataset))]
        annotations = np.unique(hands, return_inverse=True)[1].astype(np.int64)
    return sample_groups(annotations, fraction, seed)


def sample_groups(groups: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Rising indices of all members of a share of the groups; ``groups`` [N] is the group of each member."""
    known = np.unique(groups)
    order = np.random.default_rng([_SHARE_STREAM, seed]).permutation(known)
    chosen = order[: _share_of(len(known), fraction)]
    return np.flatnonzero(np.isin(groups, chosen)).astype(np.int64)


def _share_of(count: int, fraction: float) -> int:
    # Without the rounding, 0.07 x 100 would be 7.000000000000001 and take eight.
    return max(1, math.ceil(round(fraction * count, 6)))


class _CountInside:
    """In a worker: rows of the dataset to whether enough of each hand lies in its image."""

    def __init__(self, dataset: HandDataset) -> None:
        self._dataset = dataset

    def __call__(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        labels = [self._dataset.label(row) for row in rows.tolist()]
        return np.array([lies_in_picture(label) for label in labels])


def rows_in_pictures(dataset: HandDataset, rows: NDArray[np.int64], *, workers: int = 0) -> NDArray[np.int64]:
    """Those of ``rows`` whose hands have a quarter of their joints in their images (`MOSTLY_INSIDE`).

    The crops of others show repeated edges. All labels are read, by ``workers`` processes, 0: by threads.
    Raises HandsimError where none is left.
    """
    count = _CountInside(dataset)
    readers: Workers[NDArray[np.integer], NDArray[np.bool_]] = (
        WorkerProcesses(count, workers) if workers else WorkerThreads(count, "handsim-labels")
    )
    chunks = (rows[start : start + _CHUNK_LABELS] for start in range(0, len(rows), _CHUNK_LABELS))
    with closing(readers):
        inside: NDArray[np.int64] = rows[np.concatenate(list(readers.map(chunks)))]
    if not len(inside):
        raise HandsimError(
            f"none of the {len(rows):,} hands of split {dataset.split} of {dataset.name} lies in its "
            "picture; `handsim dataset check` says more"
        )
    return inside


def mean_bone_length_mm(dataset: HandDataset, rows: NDArray[np.integer]) -> float:
    """Mean length of the bone from wrist to middle_mcp over ``rows`` of a dataset, `MAX_LABELS_READ` at most.

    A network estimates joints in lengths of this bone; multiplied by the mean they are millimetres. Hands
    without both ends of the bone, or whose bone has no length, do not count. Raises HandsimError where none
    counts.
    """
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_LABELS_READ)).round().astype(np.int64)]
    labels = [dataset.label(row) for row in spread.tolist()]
    joints = np.stack([label.joints_3d_mm for label in labels]).astype(np.float64)
    valid = np.stack([label.valid for label in labels])
    lengths, usable = bone_lengths_mm(joints, valid)
    if not usable.any():
        root, end = (JOINT_NAMES[joint] for joint in REFERENCE_BONE)
        if not valid.any():
            why = "no valid joint"
        elif not valid[:, list(REFERENCE_BONE)].all(axis=1).any():
            why = f"no valid {root} and {end}"
        else:
            why = f"a bone from {root} to {end} of length 0"
        raise HandsimError(
            f"all {len(labels):,} hands that were read of split {dataset.split} of {dataset.name} have "
            f"{why}, so that their size is unknown; mend the labels, or choose another split"
        )
    return float(lengths[usable].mean())


def bone_lengths_mm(
    joints_mm: NDArray[np.float64], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Lengths [N] of the reference bone of joints [N, 21, 3], and which of them [N] give a scale.

    A length is 0 where an end of the bone is not ``valid`` [N, 21].
    """
    root, end = REFERENCE_BONE
    annotated = valid[:, root] & valid[:, end]
    bones = np.where(annotated[:, None], joints_mm[:, end] - joints_mm[:, root], 0)
    lengths = np.linalg.norm(bones, axis=1)
    return lengths, lengths >= SHORTEST_MM

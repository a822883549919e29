"""Batches: the same ones for the same numbers, by threads or processes, and mistakes in one line."""

from contextlib import closing

import numpy as np
import pytest
import torch

from handsim.errors import HandsimError
from tests.training.finetune.drawn_hands import DrawnHands
from training.datasets.record import LabelledHand
from training.finetune.data import CropSettings, HandBatch, HandLoader, HandReader, cut_hand, in_order

CROP = CropSettings(2.0, 24)
ROWS = np.arange(1, 38, 2)
"""19 of the 40 hands."""


def _loader(batch_size: int = 4, rank: int = 0, world_size: int = 1, workers: int = 0) -> HandLoader:
    return HandLoader(
        DrawnHands(40), ROWS, CROP, batch_size=batch_size, seed=5, rank=rank, world_size=world_size,
        workers=workers, pin=False,
    )  # fmt: skip


def _ids(batch: HandBatch) -> list[str]:
    return list(batch.sample_ids)


def test_a_batch_holds_what_it_says() -> None:
    dataset = DrawnHands(40, invalid={3: [2, 9]})
    with closing(HandReader(dataset, CROP, pin=False)) as reader, reader.ahead(in_order(ROWS, 8)) as batches:
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


def test_an_epoch_shows_every_hand_once() -> None:
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


def test_worker_processes_make_the_same_batches() -> None:
    with _loader() as threads, _loader(workers=1) as processes:
        for one, other in zip(threads.epoch(0), processes.epoch(0), strict=True):
            assert _ids(one) == _ids(other)
            assert torch.equal(one.crops, other.crops)
            assert torch.equal(one.joints_mm, other.joints_mm)


def test_too_few_hands_for_a_batch_are_told() -> None:
    with pytest.raises(HandsimError, match=r"a batch of 20 hands takes 20, and 19 of drawn's are trained on"):
        _loader(20)
    with pytest.raises(HandsimError, match=r"10 hands on each of 2 processes takes 20"):
        _loader(10, 1, 2)


class _Damaged(DrawnHands):
    def __getitem__(self, index: int) -> LabelledHand:
        if index == 7:
            raise HandsimError("the picture of hand 7 is cut short")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_told(workers: int) -> None:
    reader = HandReader(_Damaged(9), CROP, workers=workers, pin=False)
    with closing(reader), reader.ahead(in_order(np.arange(9), 4)) as batches:
        assert len(next(batches)) == 4
        with pytest.raises(HandsimError, match=r"^the picture of hand 7 is cut short$"):
            list(batches)

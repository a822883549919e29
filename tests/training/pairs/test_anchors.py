import numpy as np
import pytest

from handsim import HandsimError
from training.pairs.loader import AnchorBatches

HANDS = np.random.default_rng(5).choice(2**63 - 1, 1000, replace=False).astype(np.uint64)


def epoch_of(batches: AnchorBatches, epoch: int) -> list[list[int]]:
    return [batches.batch(epoch, number).tolist() for number in range(batches.batches_an_epoch)]


def test_an_epoch_is_the_beginning_of_a_permutation() -> None:
    batches = AnchorBatches(HANDS, 64, seed=3)
    assert batches.batches_an_epoch == 15
    orders = []
    for epoch in range(3):
        taken = np.concatenate(epoch_of(batches, epoch))
        assert len(taken) == len(set(taken.tolist())) == 960
        assert set(taken.tolist()) <= set(HANDS.tolist())
        orders.append(taken)
    assert (orders[0] != orders[1]).any()
    # Who sits out changes.
    assert len(set(HANDS.tolist()) - set(np.concatenate(orders).tolist())) < 5


@pytest.mark.parametrize("world_size", [2, 4, 16])
def test_ranks_share_a_batch(world_size: int) -> None:
    alone = AnchorBatches(HANDS, 64, seed=3)
    ranks = [
        AnchorBatches(HANDS, 64 // world_size, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in range(2):
        parts = [epoch_of(rank, epoch) for rank in ranks]
        for number, whole in enumerate(epoch_of(alone, epoch)):
            assert [hand for part in parts for hand in part[number]] == whole


def test_a_batch_follows_from_its_number_alone() -> None:
    batches = AnchorBatches(HANDS, 32, seed=3)
    before = batches.batch(2, 7)
    batches.batch(0, 1)
    np.testing.assert_array_equal(batches.batch(2, 7), before)
    again = AnchorBatches(HANDS[::-1], 32, seed=3)
    np.testing.assert_array_equal(again.batch(2, 7), before)
    assert again.fingerprint == batches.fingerprint
    assert AnchorBatches(HANDS[1:], 32, seed=3).fingerprint != batches.fingerprint
    assert (AnchorBatches(HANDS, 32, seed=4).batch(2, 7) != before).any()


def test_random_numbers_are_of_one_batch_alone() -> None:
    draws = [
        AnchorBatches(HANDS, 8, seed=seed, rank=rank, world_size=2).generator(epoch, number).random()
        for seed in (0, 1)
        for rank in (0, 1)
        for epoch in (0, 1)
        for number in (0, 1)
    ]
    assert len(set(draws)) == len(draws)
    batches = AnchorBatches(HANDS, 8, seed=0)
    assert batches.generator(1, 1).random() == batches.generator(1, 1).random()
    # Nor are they those that order the epoch, although zeros at the end of a seed count for nothing.
    np.testing.assert_array_equal(
        AnchorBatches(HANDS, 8, seed=0).batch(1, 0),
        np.random.default_rng([0, 0, 1]).permutation(np.sort(HANDS))[:8],
    )
    assert batches.generator(1, 0).random() != np.random.default_rng([0, 0, 1]).random()


def test_golden_batch() -> None:
    """Another order would send a resumed run to other batches."""
    batches = AnchorBatches(np.arange(100, dtype=np.uint64), 4, seed=7, rank=1, world_size=2)
    assert batches.batch(5, 3).tolist() == [74, 90, 17, 18]


def test_what_does_not_make_a_batch() -> None:
    with pytest.raises(
        HandsimError, match=r"^a batch of 1,001 anchors takes 1,001 hands, and there are 1,000; "
    ):
        AnchorBatches(HANDS, 1001, seed=0)
    with pytest.raises(HandsimError, match="a batch of 501 anchors on each of 2 ranks takes 1,002 hands"):
        AnchorBatches(HANDS, 501, seed=0, world_size=2)
    assert AnchorBatches(HANDS, 500, seed=0, world_size=2).batches_an_epoch == 1
    for given, complaint in (
        ({"batch_size": 0, "seed": 0}, "batch_size is 0"),
        ({"batch_size": 1, "seed": -1}, "seed is -1"),
        ({"batch_size": 1, "seed": 0, "rank": 2, "world_size": 2}, "rank is 2; of 2 ranks it is 0 to 1"),
    ):
        with pytest.raises(HandsimError, match=complaint):
            AnchorBatches(HANDS, **given)

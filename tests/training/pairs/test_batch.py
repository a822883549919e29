import numpy as np
import torch

from handsim import Pool
from training.pairs import PairDraw
from training.pairs.decoding import PairBatch


def test_each_hand_once_however_often_it_is_met(pool: Pool) -> None:
    ids = pool.hand_ids
    drawn = PairDraw(
        anchors=ids[[9, 3, 40, 7]],
        positives=ids[[3, 60, 40, 60]],  # one is an anchor too, one its own, one is met twice
        distances=np.array([1, 2, np.nan, 3], dtype=np.float32),
        negatives=ids[[[100, 5], [6, 2], [119, 0], [1, 50]]],
        version="v0003",
        without_positive=1,
        not_in_index=1,
        random_negatives=2,
    )
    batch = PairBatch.from_draw(drawn, pool, epoch=4, number=7)
    assert batch.hand_ids.dtype == np.uint64
    assert batch.hand_ids.tolist() == ids[[0, 1, 2, 3, 5, 6, 7, 9, 40, 50, 60, 100, 119]].tolist()
    for rows, expected in (
        (batch.anchors, drawn.anchors),
        (batch.positives, drawn.positives),
        (batch.negatives, drawn.negatives.ravel()),
    ):
        assert rows.dtype == torch.int64
        np.testing.assert_array_equal(batch.hand_ids[rows.numpy()], expected)
    np.testing.assert_array_equal(batch.keypoints, pool.keypoints[pool.rows(batch.hand_ids)][:, :, :2])
    assert batch.keypoints.dtype == batch.distances.dtype == torch.float32
    np.testing.assert_array_equal(batch.distances, drawn.distances)
    assert batch.crops.shape == (0, 32, 32, 3)
    assert (len(batch), batch.version, batch.epoch, batch.number) == (4, "v0003", 4, 7)
    assert (batch.without_positive, batch.not_in_index, batch.random_negatives) == (1, 1, 2)
    # The pool's own keypoints cannot be changed through a batch.
    batch.keypoints[0] = 7.0
    assert pool.keypoints.max() < 7.0


def test_to_moves_every_tensor(pool: Pool) -> None:
    none = np.empty((2, 0), dtype=np.uint64)
    drawn = PairDraw(pool.hand_ids[:2], pool.hand_ids[2:4], np.ones(2, dtype=np.float32), none)
    there = PairBatch.from_draw(drawn, pool, 0, 0).to("meta", non_blocking=True)
    tensors = [value for value in vars(there).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert there.hand_ids.tolist() == pool.hand_ids[:4].tolist()

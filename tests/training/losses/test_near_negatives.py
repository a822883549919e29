"""Near negatives against loops over pairs of hands, and against a dense form for autograd."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from handsim.errors import HandsimError
from tests.training.losses.oracle import Batch, Numbers, slow_denominator_weights, slow_positive_weights
from training.losses import Hands, NearMask, NearNegatives, Weighting, nt_xent

PAIRS, NEGATIVES, QUEUE = 6, 4, 9
NEAR = {
    "mined": NearNegatives(within=1.2),
    "embedding": NearNegatives(within=0.6, unit="embedding"),
    "less": NearNegatives(within=0.6, unit="embedding", weight=0.25),
    "videos": NearNegatives(same_video=True),
    "both": NearNegatives(within=0.6, unit="embedding", weight=0.25, same_video=True),
}
every_near = pytest.mark.parametrize("near", NEAR.values(), ids=NEAR)


def draw_hands(count: int, seed: int = 0) -> Hands:
    """Some of them more than once, and one that the index lacks."""
    random = torch.Generator().manual_seed(seed)
    hand_ids = torch.randint(0, 12, (count,), generator=random)
    vectors = torch.rand(12, 3, generator=random)
    vectors[7] = torch.nan
    return Hands(hand_ids, hand_ids // 3 - 1, vectors[hand_ids])


def slow_discounts(near: NearNegatives, hands: Hands, queue: Hands | None) -> Numbers:
    """[2N, C] what is added to each logit, pair by pair."""
    columns = hands if queue is None else hands.followed_by(queue)
    vectors = columns.vectors.double().numpy()
    mined = [math.dist(vectors[pair], vectors[PAIRS + pair]) for pair in range(PAIRS)]
    known = [distance for distance in mined if distance > 0]
    # torch's median of an even number is the lower one.
    unit = 1.0 if near.unit == "embedding" else sorted(known)[(len(known) - 1) // 2]
    added = np.zeros((2 * PAIRS, len(columns)))
    for row in range(2 * PAIRS):
        partner = (row + PAIRS) % (2 * PAIRS)
        for column in range(len(columns)):
            video = columns.videos[row] == columns.videos[column] and columns.videos[row] >= 0
            is_near = math.dist(vectors[row], vectors[column]) < near.within * unit
            if column not in (row, partner) and (is_near or (near.same_video and video)):
                added[row, column] = math.log(near.weight) if near.weight else -math.inf
            if column >= len(hands) and columns.hand_ids[column] in columns.hand_ids[[row, partner]]:
                added[row, column] = -math.inf
    return added


def dense_loss(batch: Batch, queue: Tensor | None, added: Numbers, weighting: Weighting) -> Tensor:
    """The loss of discounted logits, as a plain expression."""
    further = [each for each in (batch.negatives, queue) if each is not None]
    columns = torch.nn.functional.normalize(torch.cat([batch.z1, batch.z2, *further]))
    rows = columns[: 2 * PAIRS]
    # The queue's keypoints are those of the negatives, if there are any.
    weights = torch.from_numpy(slow_denominator_weights(batch, weighting))
    weights = torch.nn.functional.pad(weights, (0, len(columns) - weights.shape[1]), value=1.0)
    logits = weights * (rows @ columns.T) / 0.5 + torch.from_numpy(added)
    logits = logits.masked_fill(torch.eye(*logits.shape, dtype=torch.bool), -torch.inf)
    w_pos = torch.from_numpy(slow_positive_weights(batch, weighting)).repeat(2)
    return (logits.logsumexp(1) - w_pos * (rows * rows.roll(PAIRS, 0)).sum(1) / 0.5).mean()


@every_near
@pytest.mark.parametrize("queued", [False, True], ids=["batch alone", "with a queue"])
@pytest.mark.parametrize("pairs", ["none", "positives"])
@pytest.mark.usefixtures("small_blocks")
def test_loss_and_gradients_are_those_of_loops_and_a_dense_form(
    near: NearNegatives, queued: bool, pairs: Any
) -> None:
    ours, dense = (Batch.draw(PAIRS, NEGATIVES).differentiable() for _ in range(2))
    hands, weighting = draw_hands(2 * PAIRS + NEGATIVES), Weighting(pairs)
    queue = Batch.draw(QUEUE, seed=4).z1.requires_grad_() if queued else None
    queue_hands = draw_hands(QUEUE, seed=1) if queued else None
    added = slow_discounts(near, hands, queue_hands)
    assert np.isneginf(added).any() or near.weight
    mask = NearMask(near, hands, PAIRS, queue_hands)
    loss = nt_xent(
        ours.z1,
        ours.z2,
        weighting=weighting,
        keypoints1=ours.keypoints1,
        keypoints2=ours.keypoints2,
        negatives=ours.negatives,
        negative_keypoints=ours.negative_keypoints,
        queue=queue,
        near=mask,
    )
    expected = dense_loss(dense, None if queue is None else queue.detach(), added, weighting)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    assert mask.found == pytest.approx((added < 0).sum() / (2 * PAIRS), abs=1e-6)
    torch.autograd.backward(loss)
    torch.autograd.backward(expected)
    for gradient, theirs in zip(ours.gradients(), dense.gradients(), strict=True):
        torch.testing.assert_close(gradient, theirs, rtol=0, atol=1e-12)
    assert queue is None or queue.grad is None


def test_a_queue_is_weighted_as_further_negatives_are() -> None:
    batch = Batch.draw(PAIRS, NEGATIVES)
    for weighting in (Weighting("both"), Weighting("negatives", "sigmoid", normalised=True)):
        queued = nt_xent(
            batch.z1,
            batch.z2,
            weighting=weighting,
            keypoints1=batch.keypoints1,
            keypoints2=batch.keypoints2,
            queue=batch.negatives,
            queue_keypoints=batch.negative_keypoints,
        )
        assert queued.item() == pytest.approx(batch.loss(weighting).item(), abs=1e-12)


@given(seed=st.integers(0, 2**31), within=st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_a_denominator_never_loses_its_positive(seed: int, within: float) -> None:
    batch = Batch.draw(PAIRS, seed=seed)
    hands = replace(draw_hands(2 * PAIRS, seed), vectors=torch.zeros(2 * PAIRS, 3))
    everything = NearNegatives(within=within + 0.1, unit="embedding", same_video=True)
    alone = nt_xent(batch.z1, batch.z2, near=NearMask(everything, hands, PAIRS))
    assert alone.item() == pytest.approx(0, abs=1e-12)


def test_nothing_is_near_where_no_mined_distance_is_known() -> None:
    batch, hands = Batch.draw(PAIRS), draw_hands(2 * PAIRS)
    plain = nt_xent(batch.z1, batch.z2)
    own = hands.vectors[:PAIRS].repeat(2, 1)  # every anchor is its own positive
    for vectors in (torch.full_like(hands.vectors, torch.nan), own):
        mask = NearMask(NearNegatives(within=9.0), replace(hands, vectors=vectors), PAIRS)
        assert nt_xent(batch.z1, batch.z2, near=mask) == plain
        assert mask.found == 0


def test_hands_of_one_process_are_of_one_version() -> None:
    hands = draw_hands(4)
    assert hands.of_one_version(5) == (hands, 5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"within": -1.0}, "within is -1.0; it is a number of at least 0"),
        ({"within": math.nan}, "within is nan; it is a number of at least 0"),
        ({"unit": "px"}, "unit is 'px'; it is one of mined, embedding"),
        ({"weight": 1.0}, "weight is 1.0; it lies from 0 to below 1"),
        ({"weight": -0.1}, "weight is -0.1; it lies from 0 to below 1"),
    ],
)
def test_settings_out_of_bounds_are_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        NearNegatives(**setting)

"""The queue of earlier projections."""

import torch

from training.losses import Hands, ProjectionQueue


def step(number: int) -> tuple[torch.Tensor, torch.Tensor, Hands]:
    """The projections, points and hands of a step of two rows."""
    ids = torch.tensor([10 * number, 10 * number + 1])
    return ids[:, None].float(), ids[:, None, None].expand(2, 21, 2).float(), Hands(ids, ids, ids[:, None])


def contents(queue: ProjectionQueue) -> list[int]:
    """The ids of its hands; everything else in it belongs to them."""
    if queue.hands is None:
        assert queue.projections is None
        assert queue.points is None
        return []
    assert queue.projections is not None
    assert queue.points is not None
    ids: list[int] = queue.hands.hand_ids.tolist()
    for others in (queue.projections[:, 0], queue.points[:, 3, 1], queue.hands.vectors[:, 0]):
        assert others.tolist() == ids
    return ids


def test_the_newest_come_first_and_the_oldest_are_dropped() -> None:
    queue = ProjectionQueue(5)
    assert contents(queue) == []
    for number in (1, 2, 3):
        queue.push(*step(number))
    assert contents(queue) == [30, 31, 20, 21, 10]


def test_a_new_index_version_empties_it() -> None:
    queue = ProjectionQueue(5)
    queue.follow(1)
    queue.push(*step(1))
    queue.follow(1)
    assert contents(queue) == [10, 11]
    queue.follow(2)
    assert contents(queue) == []


def test_what_is_saved_can_be_restored_also_into_a_smaller_one() -> None:
    queue = ProjectionQueue(5)
    queue.follow(3)
    device = torch.device("cpu")
    for pushed in (False, True):
        if pushed:
            queue.push(*step(1))
        restored, smaller = ProjectionQueue(5), ProjectionQueue(1)
        for other in (restored, smaller):
            other.load_state_dict(queue.state_dict(), device)
        assert contents(restored) == contents(queue)
        assert contents(smaller) == contents(queue)[:1]
        restored.follow(3)
        assert contents(restored) == contents(queue)


def test_none_is_kept_in_one_of_size_0_and_no_gradient_in_any() -> None:
    nothing, queue = ProjectionQueue(0), ProjectionQueue(4)
    projections, points, hands = step(1)
    for each in (nothing, queue):
        each.push(projections.requires_grad_(), points, hands)
    assert contents(nothing) == []
    assert queue.projections is not None
    assert not queue.projections.requires_grad

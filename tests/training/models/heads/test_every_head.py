"""What all heads promise: masks, precision, and poses that can be used."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.training.models.drawn_targets import draw_targets, hide, some_hidden
from tests.training.models.heads.some_heads import HANDS, HEADS, fields, make_head, stages
from training.models.estimator import HeadName
from training.models.head import HandTargets

INTRINSICS = torch.tensor([[2.5, 0, 0.4], [0, 2.5, 0.6], [0, 0, 1]]).expand(HANDS, 3, 3)
every_head = pytest.mark.parametrize("name", HEADS)


def _learned(name: HeadName, targets: HandTargets) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, and the gradient of every weight."""
    head = make_head(name)
    losses = head.loss(head(stages()), targets)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    gradients = {}
    for weight, parameter in head.named_parameters():
        assert parameter.grad is not None, weight
        gradients[weight] = parameter.grad
    return {part: loss.detach() for part, loss in losses.items()}, gradients


def _targets() -> HandTargets:
    return draw_targets(HANDS, dtype=torch.float32)


@every_head
def test_every_weight_learns(name: HeadName) -> None:
    losses, gradients = _learned(name, _targets())
    assert all(loss.shape == () and loss > 0 for loss in losses.values())
    assert {weight for weight, gradient in gradients.items() if not gradient.any()} == set()


@every_head
@pytest.mark.parametrize("filling", [torch.nan, torch.inf, 1e30])
def test_what_is_hidden_has_no_part_in_it(name: HeadName, filling: float) -> None:
    """To the last bit: neither the losses nor a gradient knows what stands where nothing is known."""
    losses, gradients = _learned(name, some_hidden(_targets(), 0.0))
    others, other_gradients = _learned(name, some_hidden(_targets(), filling))
    assert losses == others
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.equal(gradients[weight], other_gradients[weight]) for weight in gradients)


@every_head
def test_what_is_said_of_hidden_joints_does_not_count(name: HeadName) -> None:
    head, targets = make_head(name), some_hidden(_targets(), torch.nan)
    said = head(stages())
    said = type(said)(*(tensor.detach().requires_grad_() for tensor in fields(said).values()))
    head.loss(said, targets)["loss"].backward()  # type: ignore[no-untyped-call]
    learned = [tensor.grad for tensor in fields(said).values() if tensor.grad is not None]
    assert learned
    for gradient in learned:
        assert not gradient[~targets.valid].any()
        assert gradient[targets.valid].any()


@every_head
def test_a_hand_without_anything_leaves_the_others_as_they_are(name: HeadName) -> None:
    """The loss is that of the others alone."""
    hidden = torch.zeros(HANDS, 21, dtype=torch.bool)
    hidden[2] = True
    targets, kept = hide(_targets(), hidden, hidden[:, 0], torch.nan), [0, 1, 3]
    head = make_head(name).eval()
    with torch.no_grad():
        found = head.loss(head(stages()), targets)
        fewer = HandTargets(*(getattr(targets, field)[kept] for field in vars(targets)))
        expected = head.loss(head(tuple(maps[kept] for maps in stages())), fewer)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@every_head
@pytest.mark.parametrize("has_scale", [True, False])
def test_without_a_valid_joint_nothing_is_learned(name: HeadName, has_scale: bool) -> None:
    everything = torch.ones(HANDS, 21, dtype=torch.bool)
    targets = hide(_targets(), everything, everything[:, 0], torch.nan)
    losses, gradients = _learned(name, replace(targets, has_scale=torch.full((HANDS,), has_scale)))
    assert all(float(loss) == 0 for loss in losses.values())
    assert not any(gradient.any() for gradient in gradients.values())


@every_head
def test_autocast_changes_neither_loss_nor_pose_but_for_what_is_said(name: HeadName) -> None:
    head = make_head(name).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        halves = head(stages())
    assert any(tensor.dtype == torch.bfloat16 for tensor in fields(halves).values())
    floats = type(halves)(*(tensor.float() for tensor in fields(halves).values()))
    assert head.loss(halves, _targets()) == head.loss(floats, _targets())
    told, expected = head.decode(halves, INTRINSICS), head.decode(floats, INTRINSICS)
    for field, tensor in vars(told).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, getattr(expected, field)), field


@every_head
def test_a_pose_has_all_joints(name: HeadName) -> None:
    head = make_head(name).eval()
    with torch.no_grad():
        told = head.decode(head(stages()), INTRINSICS)
    assert told.keypoints.shape == (HANDS, 21, 2)
    assert told.joints.shape == (HANDS, 21, 3)
    assert told.confidence.shape == (HANDS, 21)
    assert (told.joints[:, 0] == 0).all()
    assert ((told.confidence >= 0) & (told.confidence <= 1)).all()


@every_head
def test_one_hand_alone_can_be_learned_from(name: HeadName) -> None:
    """A last batch may hold a single one."""
    head = make_head(name).train()
    losses = head.loss(head(stages(hands=1)), draw_targets(1, dtype=torch.float32))
    assert torch.isfinite(losses["loss"])


@every_head
def test_a_few_hands_are_learned_by_heart(name: HeadName) -> None:
    head, targets = make_head(name).train(), some_hidden(_targets(), torch.nan)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-4)
    losses = []
    for _ in range(8):
        loss = head.loss(head(stages()), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0], losses

"""DetNet's losses, cell by cell."""

import pytest
import torch
from torch import Tensor

from training.models.detnet import heat_map_loss, weighted_map_loss

HANDS, JOINTS, SIDE = 3, 21, 5


def _drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HEAT = _drawn(HANDS, JOINTS, SIDE, SIDE, seed=0)
TRUE_HEAT = _drawn(HANDS, JOINTS, SIDE, SIDE, seed=1).abs()
MAPS = _drawn(HANDS, JOINTS, 3, SIDE, SIDE, seed=2)
VECTORS = _drawn(HANDS, JOINTS, 3, seed=3)
VALID = _drawn(HANDS, JOINTS, seed=4) > -0.5
CELLS = [(row, column) for row in range(SIDE) for column in range(SIDE)]
SHOWN = [(hand, joint) for hand in range(HANDS) for joint in range(JOINTS) if VALID[hand, joint]]


def test_heat_maps_cell_by_cell() -> None:
    """0.5 per joint: half the mean squared error of a map, summed over 21 joints."""
    total = 0.0
    for hand, joint in SHOWN:
        errors = [float(HEAT[hand, joint, r, c] - TRUE_HEAT[hand, joint, r, c]) ** 2 for r, c in CELLS]
        total += 0.5 * sum(errors) / len(errors)
    expected = JOINTS * total / len(SHOWN)
    assert float(heat_map_loss(HEAT, TRUE_HEAT, VALID)) == pytest.approx(expected, rel=1e-12)


def test_weighted_maps_cell_by_cell() -> None:
    total = 0.0
    for hand, joint in SHOWN:
        for row, column in CELLS:
            for axis in range(3):
                error = MAPS[hand, joint, axis, row, column] - VECTORS[hand, joint, axis]
                total += float(TRUE_HEAT[hand, joint, row, column] * error) ** 2
    found = weighted_map_loss(MAPS, VECTORS, TRUE_HEAT, VALID)
    assert float(found) == pytest.approx(total / len(SHOWN), rel=1e-12)


def test_maps_that_are_right_where_it_is_warm_cost_nothing() -> None:
    heat = torch.zeros_like(TRUE_HEAT)
    heat[..., 2, 3] = 1
    maps = MAPS.clone()
    maps[..., 2, 3] = VECTORS
    assert float(weighted_map_loss(maps, VECTORS, heat, VALID)) == 0
    assert float(heat_map_loss(TRUE_HEAT, TRUE_HEAT, VALID)) == 0
    assert float(heat_map_loss(TRUE_HEAT + 1, TRUE_HEAT, VALID)) == pytest.approx(0.5 * JOINTS)


def test_the_size_of_a_loss_does_not_follow_the_number_of_joints() -> None:
    same = torch.ones(HANDS, JOINTS, SIDE, SIDE, dtype=torch.float64)
    vectors = torch.ones(HANDS, JOINTS, 3, dtype=torch.float64)
    maps = torch.zeros(HANDS, JOINTS, 3, SIDE, SIDE, dtype=torch.float64)
    few = torch.zeros_like(VALID)
    few[1, 4] = True
    for valid in (VALID, few):
        assert float(heat_map_loss(0 * same, same, valid)) == pytest.approx(0.5 * JOINTS)
        assert float(weighted_map_loss(maps, vectors, same, valid)) == pytest.approx(3 * SIDE**2)


@pytest.mark.parametrize("valid", [VALID, torch.zeros_like(VALID)])
def test_joints_that_do_not_count_get_no_gradient(valid: Tensor) -> None:
    heat, maps = HEAT.clone().requires_grad_(), MAPS.clone().requires_grad_()
    loss = heat_map_loss(heat, TRUE_HEAT, valid) + weighted_map_loss(maps, VECTORS, TRUE_HEAT, valid)
    loss.backward()  # type: ignore[no-untyped-call]
    for predicted in (heat, maps):
        assert predicted.grad is not None
        learned = predicted.grad.flatten(2).ne(0).any(2)
        assert torch.equal(learned, valid)
    if not valid.any():
        assert float(loss.detach()) == 0


def test_half_precision_is_lifted() -> None:
    halves, maps = HEAT.bfloat16(), MAPS.bfloat16()
    true, vectors = TRUE_HEAT.float(), VECTORS.float()
    assert torch.equal(heat_map_loss(halves, true, VALID), heat_map_loss(halves.float(), true, VALID))
    assert torch.equal(
        weighted_map_loss(maps, vectors, true, VALID), weighted_map_loss(maps.float(), vectors, true, VALID)
    )

import pytest
import torch

from training.models.head import masked_mean


def test_it_is_the_mean_of_what_the_mask_shows() -> None:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(4, 7, generator=random, dtype=torch.float64)
    mask = torch.rand(4, 7, generator=random) < 0.4
    shown = [float(values[row, column]) for row in range(4) for column in range(7) if mask[row, column]]
    assert 0 < len(shown) < 28
    assert float(masked_mean(values, mask)) == pytest.approx(sum(shown) / len(shown), abs=1e-12)


@pytest.mark.parametrize("hidden", [torch.nan, torch.inf, -torch.inf])
def test_what_it_hides_may_be_anything(hidden: float) -> None:
    values = torch.tensor([1.0, hidden, 4.0, hidden], requires_grad=True)
    mean = masked_mean(values, torch.tensor([True, False, True, False]))
    mean.backward()  # type: ignore[no-untyped-call]
    assert float(mean.detach()) == 2.5
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0, 0.5, 0]


@pytest.mark.parametrize("shape", [(3, 2), (0, 2)])
def test_without_anything_to_see_it_is_0_and_so_is_its_gradient(shape: tuple[int, ...]) -> None:
    values = torch.full(shape, torch.nan, requires_grad=True)
    mean = masked_mean(values, torch.zeros(shape, dtype=torch.bool))
    mean.backward()  # type: ignore[no-untyped-call]
    assert float(mean.detach()) == 0
    assert values.grad is not None
    assert (values.grad == 0).all()

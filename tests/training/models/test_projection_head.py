import pytest
import torch

from handsim.errors import HandsimError
from training.models.encoder import ProjectionHead


def test_it_is_linear_batch_norm_relu_linear() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(6, hidden=5, out=4).double()
    features = torch.randn(7, 6, dtype=torch.double)
    weights = head.state_dict()
    hidden = features @ weights["0.weight"].T + weights["0.bias"]
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(head(features), hidden.clamp(min=0) @ weights["3.weight"].T)


def test_peclrs_widths_are_the_default() -> None:
    head = ProjectionHead(2048)
    shapes = {name: tuple(parameter.shape) for name, parameter in head.named_parameters()}
    assert shapes == {
        "0.weight": (512, 2048),
        "0.bias": (512,),
        "1.weight": (512,),
        "1.bias": (512,),
        "3.weight": (128, 512),
    }
    assert head(torch.zeros(2, 2048)).shape == (2, 128)


@pytest.mark.parametrize(("widths", "name"), [((0,), "in_features"), ((4, 0), "hidden"), ((4, 4, -1), "out")])
def test_widths_that_cannot_be_are_named(widths: tuple[int, ...], name: str) -> None:
    with pytest.raises(HandsimError, match=f"{name} is {widths[-1]}; it is at least 1"):
        ProjectionHead(*widths)

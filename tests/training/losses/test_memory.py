"""That no tensor of all pairs is ever made."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.losses.oracle import Batch, dense_loss
from training.losses import Weighting


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """How many bytes the largest tensor made within the block stands on."""

    bytes: int = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return made


def largest(loss: Callable[[], Tensor]) -> int:
    watch = LargestTensor()  # type: ignore[no-untyped-call]
    with watch:
        torch.autograd.backward(loss())
    return watch.bytes


@pytest.mark.parametrize(
    "weighting",
    [Weighting(), Weighting("both"), Weighting("both", "sigmoid"), Weighting("negatives", distance="w_abs")],
    ids=lambda w: f"{w.pairs}-{w.form}-{w.distance}",
)
def test_no_tensor_grows_with_the_square_of_the_batch(
    weighting: Weighting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["training.losses.nt_xent"], "_CPU_BLOCK", 1 << 12)
    monkeypatch.setattr("training.losses.simhand_weights._CPU_TILE", 1 << 12)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    sizes = {}
    for pairs in (128, 256):
        batch = Batch.draw(pairs, dtype=torch.float32).differentiable()
        sizes[pairs] = largest(lambda batch=batch: batch.loss(weighting))  # type: ignore[misc]
        all_pairs = (2 * pairs) ** 2 * 4
        assert sizes[pairs] < all_pairs / 2
    assert sizes[256] <= 2 * sizes[128]


def test_blocks_of_the_usual_size_are_smaller_than_all_pairs() -> None:
    batch = Batch.draw(1024, dtype=torch.float32).differentiable()
    assert largest(lambda: batch.loss(Weighting("both"))) < 2048**2 * 4 / 2


def test_a_dense_form_would_be_seen() -> None:
    batch = Batch.draw(64, dtype=torch.float32).differentiable()
    assert largest(lambda: dense_loss(batch, torch.ones(64), torch.ones(128, 128))) >= 128**2 * 4

from dataclasses import replace
from typing import Any

import pytest
import torch

from handsim.errors import HandsimError
from tests.training.models.drawn_targets import draw_targets, some_hidden

TARGETS = draw_targets(3)


@pytest.mark.parametrize("filling", [torch.nan, torch.inf, -1.0])
def test_what_is_not_known_is_0(filling: float) -> None:
    told = some_hidden(draw_targets(4), filling)
    assert told.valid.sum(1).tolist()[2] == 0
    for known, mask, true in (
        (told.known_keypoints, told.valid, draw_targets(4).keypoints),
        (told.known_joints, told.valid_3d, draw_targets(4).joints),
    ):
        assert torch.equal(known[mask], true[mask])
        assert (known[~mask] == 0).all()
    assert told.valid[1].any()
    assert not told.valid_3d[1].any(), "without a scale there are no 3D joints"
    assert torch.equal(told.valid_3d[3], told.valid[3])


def test_half_precision_is_lifted() -> None:
    for dtype, wide in [(torch.float16, torch.float32), (torch.float64, torch.float64)]:
        told = draw_targets(2, dtype=dtype)
        assert told.known_keypoints.dtype == told.known_joints.dtype == wide


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": torch.zeros(3, 21, 3)}, r"keypoints is \[3, 21, 3\]; for 3 hands .* \[3, 21, 2\]"),
        ({"joints": torch.zeros(3, 20, 3)}, r"joints is \[3, 20, 3\]; for 3 hands .* it is \[3, 21, 3\]"),
        ({"valid": torch.ones(2, 21).bool()}, r"keypoints is \[3, 21, 2\]; for 2 hands"),
        ({"has_scale": torch.ones(3, 1).bool()}, r"has_scale is \[3, 1\]; for 3 hands .* it is \[3\]"),
        ({"valid": torch.ones(3, 21)}, "valid is torch.float32; it is a mask, torch.bool"),
        ({"has_scale": torch.ones(3).int()}, "has_scale is torch.int32; it is a mask, torch.bool"),
    ],
)
def test_targets_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        replace(TARGETS, **changes)

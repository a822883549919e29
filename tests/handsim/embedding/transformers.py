"""Vision transformers 32 wide and two blocks deep, of every published kind."""

from typing import Final

import pytest

from handsim.embedding import networks
from handsim.embedding.image import FEATURES
from handsim.embedding.vision_transformer import VitShape

TINY_SHAPES: Final = {
    "tiny_dinov2": VitShape(32, 14, grid=4, depth=2, head_width=16),
    "tiny_dinov2_reg": VitShape(32, 14, registers=3, grid=4, depth=2, head_width=16),
    "tiny_dinov3": VitShape(32, 16, registers=3, is_rotary=True, depth=2, head_width=16),
    "tiny_16": VitShape(32, 16, grid=4, depth=2, head_width=16),
}


def name_tiny_transformers(patch: pytest.MonkeyPatch) -> None:
    """Let them be built and read by these names, as the published ones are by theirs."""
    for name, shape in TINY_SHAPES.items():
        patch.setitem(networks.VIT_SHAPES, name, shape)  # type: ignore[misc]
        patch.setitem(FEATURES, name, shape.width)  # type: ignore[misc]

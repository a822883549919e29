"""The reference's numbers, and blocks that make small batches take the paths of large ones."""

import sys
from pathlib import Path

import pytest
from torch import Tensor

from tests.training.builders import read_golden


@pytest.fixture
def golden(shared_data: Path) -> dict[str, Tensor]:
    """The numbers of SiMHand's published code."""
    return read_golden(shared_data)


def set_blocks(monkeypatch: pytest.MonkeyPatch, block: int, tile: int) -> None:
    """Set how many pairs a block and a tile hold."""
    # Not by its name: in the package `training.losses`, nt_xent is the function.
    monkeypatch.setattr(sys.modules["training.losses.nt_xent"], "_CPU_BLOCK", block)
    monkeypatch.setattr("training.losses.tiled_distances._CPU_TILE", tile)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and tiles of few rows, so that a small batch has several of both."""
    set_blocks(monkeypatch, 80, 40)

"""Fixtures of the losses' tests."""

import sys

import pytest


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and tiles of few rows, so that a small batch is made of several of both."""
    monkeypatch.setattr(sys.modules["training.losses.nt_xent"], "_CPU_BLOCK", 80)
    monkeypatch.setattr("training.losses.simhand_weights._CPU_TILE", 40)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)

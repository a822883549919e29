"""A ResNet-18 with weights from a seed, as a checkpoint; nothing is downloaded."""

from pathlib import Path

import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types


@pytest.fixture(scope="session")
def network() -> torch.nn.Module:
    """A ResNet-18 whose batch norms have seen something, so that nothing about them can be left out."""
    torch.set_num_threads(1)  # on cores that are shared, threads that wait for each other cost more than one
    torch.manual_seed(0)
    network: torch.nn.Module = models.resnet18(weights=None)
    with torch.no_grad():
        network(torch.rand(16, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="session")
def checkpoint(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its state dict."""
    path = tmp_path_factory.mktemp("checkpoints") / "hands.pt"
    torch.save(network.state_dict(), path)
    return path

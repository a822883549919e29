"""A ResNet-18 with weights from a seed, and a home with embeddings fitted by it; nothing is downloaded."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding import BlendEmbedding, PoseEmbedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from tests.handsim.builders import CROP_PX, write_picture_pool


@pytest.fixture(scope="session")
def network() -> torch.nn.Module:
    """A ResNet-18 whose batch norms have statistics, so that a test notices when these are left out."""
    torch.set_num_threads(1)  # on shared cores, threads that wait for each other cost more than one
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


@pytest.fixture(scope="session")
def fitted(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 40 hands and an embedding of each kind: 4 components of poses, 5 of pictures."""
    home = tmp_path_factory.mktemp("fitted")
    pool = write_picture_pool(home / "pool", range(40))
    pose = PoseEmbedding.fit(pool, 4)
    pose.save(home / "pose.json")
    options = ImageFitOptions(components=5, image_size_px=CROP_PX, device="cpu")
    image = fit_image_embedding(pool, str(checkpoint), home / "image.json", options)
    BlendEmbedding(pose, image, 0.3).save(home / "blend.json")
    return home


@pytest.fixture
def home(fitted: Path, tmp_path: Path) -> Path:
    """A copy of it for a test to change; the weights file is a link: remove it rather than write into it."""

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)

    return shutil.copytree(fitted, tmp_path / "home", copy_function=copy)

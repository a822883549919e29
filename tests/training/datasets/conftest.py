"""Small synthetic sets in official layouts, written once, and copies to be broken."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.datasets.builders import ASSEMBLYHANDS, DEXYCB, FREIHAND, SYNTHETIC
from training.datasets.layouts import write_assemblyhands, write_dexycb, write_freihand
from training.datasets.synthetic import write_synthetic

Copier = Callable[[Path], Path]


@pytest.fixture(scope="session")
def dexycb_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DexYCB's layout; never written in."""
    root = tmp_path_factory.mktemp("sets") / "dexycb"
    write_dexycb(root, DEXYCB)
    return root


@pytest.fixture(scope="session")
def assemblyhands_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AssemblyHands' layout; never written in."""
    root = tmp_path_factory.mktemp("sets") / "assemblyhands"
    write_assemblyhands(root, ASSEMBLYHANDS)
    return root


@pytest.fixture(scope="session")
def freihand_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FreiHAND's layout; never written in."""
    root = tmp_path_factory.mktemp("sets") / "freihand"
    write_freihand(root, FREIHAND)
    return root


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own set; never written in."""
    root = tmp_path_factory.mktemp("sets") / "synthetic"
    write_synthetic(root, SYNTHETIC)
    return root


@pytest.fixture
def copy_of(tmp_path: Path) -> Copier:
    """Makes a copy of a set that the test may break."""

    def copy(root: Path) -> Path:
        return Path(shutil.copytree(root, tmp_path / root.name))

    return copy

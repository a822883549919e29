"""A home made by the commands themselves."""

import subprocess
from pathlib import Path

import pytest

from apps.cli import main


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 synthetic hands in 12 videos, an embedding and an index."""
    path = tmp_path_factory.mktemp("home")
    synth = ["synth", "--videos", "12", "--hands-per-video", "5", "--size", "64", "--home", str(path)]
    assert main(synth) == 0
    assert main(["--home", str(path), "embedding", "fit", "--normalisation", "centre"]) == 0
    assert main(["index", "build", "--home", str(path)]) == 0
    return path


def copy_home(home: Path, target: Path) -> Path:
    """A copy to change; the holes of the engine's files stay holes."""
    subprocess.run(["cp", "--recursive", "--sparse=always", home, target], check=True)
    return target


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    return copy_home(home, tmp_path / "home")

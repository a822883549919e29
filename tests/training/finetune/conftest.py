"""Homes to train in, on one thread."""

from pathlib import Path

import pytest
import torch

from handsim.home import Home
from tests.training.finetune.builders import Place


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Every training here."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home of the test's own."""
    return Place(Home(tmp_path / "home"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Runs that nobody stopped: ``plain``, and ``odd`` whose second step takes hands of two epochs."""
    place = Place(Home(tmp_path_factory.mktemp("whole") / "home"))
    torch.set_num_threads(1)
    place.train("plain")
    place.train("odd", ["--trainer.accumulate", "2"])
    return place

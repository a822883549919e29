"""Fixtures that more than one house's tests lean on: the hand model and the shared photographs."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from handsim.detection import fetch_model
from handsim.errors import HandsimError

REPOSITORY = Path(__file__).resolve().parents[1]

# As many processes run as there are cores: more threads in each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example may take as long as it takes: on a busy machine any of them is slow.
settings.register_profile("handsim", deadline=None)
settings.load_profile("handsim")


def pytest_configure() -> None:
    """Hear Ctrl-C, which is ignored where the tests run in a script's background: some of them send it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests on a Ray cluster come first: so one process runs them all (none steals from the front of
    another's queue), and starts one cluster."""
    items.sort(key=lambda item: item.path.name != "test_ray_cluster.py")


@pytest.fixture(scope="session")
def model_path() -> Path:
    """MediaPipe's hand model, from the cache or fetched into it once."""
    try:
        return fetch_model().path
    except HandsimError as error:
        pytest.skip(f"the hand model is needed: {error}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real photographs (HANDSIM_TEST_DATA, else ../shared/data beside the repository)."""
    folder = Path(os.environ.get("HANDSIM_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "sign_digits").is_dir():
        pytest.skip(f"the real photographs are needed and are not at {folder}; set HANDSIM_TEST_DATA")
    return folder


@pytest.fixture
def tiny_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small vision transformers of every published kind can be built and read by name."""
    from tests.handsim.embedding.transformers import name_tiny_transformers  # torch, which few tests need

    name_tiny_transformers(monkeypatch)

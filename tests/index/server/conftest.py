"""A pool small enough to be built many times, and an index without a server."""

from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from handsim import Pool, PoseEmbedding
from index.server.catalog import ServerCatalog
from index.server.client import Connection
from tests.index.conftest import write_pool


class Clock:
    """A clock that tests move, and that moves on while somebody waits."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


class Desk:
    """A server in this process's memory, and as many catalogs on it as there are people."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.clock = Clock()

    def connection(self) -> Connection:
        return Connection(self.client, "memory", pause=self.clock.pause, clock=self.clock, calls_at_once=1)

    def catalog(self, name: str = "hands") -> ServerCatalog:
        return ServerCatalog(self.connection(), name)

    def names(self) -> list[str]:
        """Of all collections."""
        return sorted(collection.name for collection in self.client.get_collections().collections)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(scope="session")
def small_pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """60 hands of 4 videos."""
    return write_pool(tmp_path_factory.mktemp("data") / "small", videos=4)


@pytest.fixture(scope="session")
def small_embedding(small_pool: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(small_pool)


@pytest.fixture(scope="session")
def grown_pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """The same and 30 hands more."""
    path: Path = tmp_path_factory.mktemp("data") / "grown"
    return write_pool(path, videos=6)


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads that take many requests, even of a small pool."""
    monkeypatch.setattr("index.server.build._HANDS_AT_ONCE", 5)

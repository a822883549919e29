"""Small pools and their embeddings, and every engine over the same hands."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from handsim import Pool, PoseEmbedding
from index import Catalog, ExactIndex, IndexVersion, open_catalog
from index.copy import copy_catalog
from index.points import PoolPoints
from tests.index.builders import (
    SMALL_GRAPH,
    ChildProcess,
    MemoryServer,
    SmallData,
    copy_index,
    memory_catalog,
    write_pool,
)


def pytest_configure(config: pytest.Config) -> None:
    """The client's local mode warns that it has no indexes; the tests need none."""
    config.addinivalue_line("filterwarnings", "ignore:Payload indexes have no effect")
    config.addinivalue_line("filterwarnings", "ignore:Local mode performs exact")


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """900 hands of 60 videos."""
    return write_pool(tmp_path_factory.mktemp("data") / "pool")


@pytest.fixture(scope="session")
def embedding(pool: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(pool)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallData:
    folder = tmp_path_factory.mktemp("small")
    pool = write_pool(folder / "pool", videos=4)
    embedding, other = PoseEmbedding.fit(pool), PoseEmbedding.fit(pool, components=5)
    return SmallData(pool, write_pool(folder / "grown", videos=6), embedding, other)


@pytest.fixture(scope="session", params=["exact", "edge", "memory", "server"])
def version(request: pytest.FixtureRequest, pool: Pool, embedding: PoseEmbedding) -> Iterator[IndexVersion]:
    """The same hands in every engine."""
    if request.param == "exact":
        yield ExactIndex(pool, embedding)
    elif request.param == "edge":
        yield request.getfixturevalue("embedded")
    elif request.param == "memory":
        memory = memory_catalog()  # not verified: its many searches are slow
        name = memory.write_version(PoolPoints(pool, embedding), embedding, SMALL_GRAPH)
        with memory.open(name) as version:
            yield version
    else:
        url = os.environ.get("HANDSIM_QDRANT_URL")
        if not url:
            pytest.skip("a Qdrant server is needed; set HANDSIM_QDRANT_URL (and HANDSIM_QDRANT_API_KEY)")
        base, question_mark, query = url.partition("?")
        new = f"{base.rstrip('/')}/handsim-test-{uuid4().hex[:12]}{question_mark}{query}"
        with open_catalog(new) as catalog:
            catalog.build(pool, embedding, SMALL_GRAPH)
            with catalog.current() as version:
                yield version
            catalog.drop()


@pytest.fixture(scope="session")
def built(pool: Pool, embedding: PoseEmbedding, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded index with one version of 900 hands; tests copy it before they change it."""
    root = tmp_path_factory.mktemp("built") / "index"
    open_catalog(root).build(pool, embedding, SMALL_GRAPH)
    return root


@pytest.fixture(scope="session")
def embedded(built: Path) -> Iterator[IndexVersion]:
    """The version of ``built``: for what takes any engine alike."""
    with open_catalog(built).current() as version:
        yield version


@pytest.fixture(scope="session")
def three_versions(small: SmallData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded index with v0001, v0002 (another embedding) and v0003, published in that order."""
    root = tmp_path_factory.mktemp("three") / "index"
    for embedding in (small.embedding, small.other_embedding, small.embedding):
        open_catalog(root).build(small.pool, embedding)
    return root


@pytest.fixture
def qdrant() -> MemoryServer:
    return MemoryServer()


@pytest.fixture(params=["edge", "memory"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path, qdrant: MemoryServer) -> Iterator[Catalog]:
    """An empty index, embedded and on a server."""
    with qdrant.catalog() if request.param == "memory" else open_catalog(tmp_path / "index") as catalog:
        yield catalog


@pytest.fixture(params=["edge", "memory"])
def published(request: pytest.FixtureRequest, three_versions: Path, tmp_path: Path) -> Catalog:
    """An index as ``three_versions``, embedded and on a server."""
    if request.param == "edge":
        return open_catalog(copy_index(three_versions, tmp_path / "published"))
    catalog = memory_catalog()
    copy_catalog(open_catalog(three_versions), catalog)
    return catalog


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads that take many requests, even of a small pool."""
    monkeypatch.setattr("index.server.build._HANDS_PER_REQUEST", 5)


@pytest.fixture
def start() -> Iterator[Callable[..., ChildProcess]]:
    """Starts child processes (program, *arguments) that end with the test."""
    with ExitStack() as children:

        def start(program: str, *arguments: object) -> ChildProcess:
            child = children.enter_context(ChildProcess(program, *arguments))
            children.callback(child.kill)
            return child

        yield start

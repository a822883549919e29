"""Embedded indexes to be copied by those who change them, and other processes that read or build one."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handsim import Pool, PoseEmbedding
from index import Catalog, open_catalog
from tests.index.conftest import SMALL_GRAPH, write_pool


@pytest.fixture(scope="session")
def small_pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """60 hands of 4 videos."""
    return write_pool(tmp_path_factory.mktemp("data") / "small", videos=4)


@pytest.fixture(scope="session")
def grown_pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """The same and 30 hands more."""
    return write_pool(tmp_path_factory.mktemp("data") / "grown", videos=6)


@pytest.fixture(scope="session")
def small_embedding(small_pool: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(small_pool)


@pytest.fixture(scope="session")
def other_embedding(small_pool: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(small_pool, components=5)


def copy_index(root: Path, target: Path) -> Path:
    """A copy to change; the holes of the engine's files stay holes, else they are a hundred megabytes."""
    subprocess.run(["cp", "--recursive", "--sparse=always", root, target], check=True)
    return target


@pytest.fixture(scope="session")
def built(pool: Pool, embedding: PoseEmbedding, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with one version of 900 hands, to be copied by those who break it."""
    root = tmp_path_factory.mktemp("built") / "index"
    open_catalog(root).build(pool, embedding, SMALL_GRAPH)
    return root


@pytest.fixture(scope="session")
def three_versions(
    small_pool: Pool,
    small_embedding: PoseEmbedding,
    other_embedding: PoseEmbedding,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """v0001, v0002 (another embedding) and v0003, published in that order."""
    root = tmp_path_factory.mktemp("three") / "index"
    for embedding in (small_embedding, other_embedding, small_embedding):
        open_catalog(root).build(small_pool, embedding)
    return root


@pytest.fixture
def published(three_versions: Path, tmp_path: Path) -> Catalog:
    """A copy of those three."""
    return open_catalog(copy_index(three_versions, tmp_path / "index"))


class Process:
    """Another process, which says where it is and goes on when it is told to."""

    def __init__(self, program: str, *arguments: object) -> None:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def says(self) -> str:
        """Its next line; waits for it."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let it take its next step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def ends(self) -> int:
        """Its exit code; waits for it."""
        return self._process.wait()

    def close(self) -> None:
        """End it, however far it is."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts processes (program, *arguments) that end with the test."""
    started: list[Process] = []

    def start(program: str, *arguments: object) -> Process:
        started.append(Process(program, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.close()

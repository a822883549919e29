"""Positives for every hand of an index: SiMHand's mining (arXiv 2502.15251, section 3.2).

Mining by several processes: the embedded engine answers on one core and holds Python's lock meanwhile.

Mined pairs as Parquet: one row a pair.
"""

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError
from index import open_catalog
from index.info import VersionInfo
from index.points import Progress
from index.query import SearchOptions
from index.version import IndexVersion

Answer = tuple[NDArray[np.uint64], NDArray[np.float32]]
"""Positives [n, K] and distances [n, K] of a batch of n hands."""
Ask = Callable[[IndexVersion, NDArray[np.uint64]], Answer]
"""What each process asks its version about a batch of hands; it must be picklable."""

_AHEAD: Final = 2
"""Batches a process holds: the one at hand, and one more so that it never waits."""


def ask_in_turn(
    address: str, name: str, batches: Sequence[NDArray[np.uint64]], ask: Ask, workers: int
) -> Iterator[Answer]:
    """What a version answers about each batch, in their order, by processes that open it each for itself.

    Batches go round by turns, so that the order needs no bookkeeping. Raises what a process met.
    """
    crew = [_MinerMiningCrew(address, name, ask) for _ in range(min(workers, len(batches)))]
    try:
        for number, batch in enumerate(batches[: _AHEAD * len(crew)]):
            crew[number % len(crew)].give(batch)
        for number in range(len(batches)):
            miner = crew[number % len(crew)]
            answer = miner.take()
            following = number + _AHEAD * len(crew)
            if following < len(batches):
                miner.give(batches[following])
            yield answer
    finally:
        for miner in crew:
            miner.stop()


class _MinerMiningCrew:
    """One process with the version open."""

    def __init__(self, address: str, name: str, ask: Ask) -> None:
        context = multiprocessing.get_context("spawn")  # neither engine survives a fork
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work, args=(theirs, address, name, ask), daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, batch: NDArray[np.uint64]) -> None:
        self._connection.send(batch)

    def take(self) -> Answer:
        try:
            message = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise HandsimError(
                "a mining process died; what it said is above, or memory ran out: take fewer --workers"
            ) from error
        if isinstance(message, Exception):
            raise message
        answer: Answer = message
        return answer

    def stop(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()


def _work(connection: Connection, address: str, name: str, ask: Ask) -> None:
    """A process's whole life: until the pipe is closed, or it is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    try:
        with open_catalog(address) as catalog, catalog.open(name) as version:
            while True:
                connection.send(ask(version, connection.recv()))
    except (EOFError, ConnectionError):
        return
    except HandsimError as error:
        connection.send(error)


_BATCH_HANDS: Final = 2048


@dataclass(frozen=True)
class MiningPolicy:
    """Which neighbours of a hand are its positives.

    Raises HandsimError for ranks that are not 1 <= first_rank <= top_k and for a distance below 0.
    """

    top_k: int = 1
    """The last rank taken; 1 takes the nearest hand alone, as the paper does."""
    first_rank: int = 1
    """The first rank taken; above 1 it leaves the nearest ones out."""
    other_video: bool = True
    """Never a hand of the same video: the next frame is alike, but teaches nothing."""
    one_per_video: bool = False
    """Count ranks over videos, each told by its nearest hand."""
    max_distance: float | None = None
    """Leave out what is further than this, in the index's embedding."""

    def __post_init__(self) -> None:
        if not 1 <= self.first_rank <= self.top_k:
            raise HandsimError(
                f"ranks {self.first_rank} to {self.top_k} cannot be mined; ranks count from 1, first to last"
            )
        if self.max_distance is not None and not (
            math.isfinite(self.max_distance) and self.max_distance >= 0
        ):
            raise HandsimError(f"max_distance is {self.max_distance}; it is a distance of at least 0")


DEFAULT_POLICY: Final = MiningPolicy()


@dataclass(frozen=True, eq=False)
class MinedPairs:
    """The positives of N hands, K for each, nearest first."""

    hand_ids: NDArray[np.uint64]
    """[N]."""
    positives: NDArray[np.uint64]
    """[N, K]; `index.query.NO_HAND` where the policy left none."""
    distances: NDArray[np.float32]
    """[N, K] in the index's embedding; infinity where there is none."""

    @classmethod
    def concatenate(cls, batches: Iterable["MinedPairs"]) -> "MinedPairs":
        """All batches (at least one) as one."""
        hand_ids, positives, distances = zip(
            *((batch.hand_ids, batch.positives, batch.distances) for batch in batches), strict=True
        )
        return cls(np.concatenate(hand_ids), np.concatenate(positives), np.concatenate(distances))

    @property
    def found(self) -> NDArray[np.bool_]:
        """[N, K] where there is a positive."""
        return np.isfinite(self.distances)

    def __len__(self) -> int:
        return len(self.hand_ids)


def mine(
    version: IndexVersion,
    hand_ids: NDArray[np.uint64],
    policy: MiningPolicy = DEFAULT_POLICY,
    *,
    workers: int = 1,
    ef: int | None = None,
    progress: Progress | None = None,
) -> Iterator[MinedPairs]:
    """The positives of hands [N] of the index, batch by batch in their order, in bounded memory.

    More ``workers`` than one are processes that open the version for themselves; one that no other process
    can open is asked in this one. Raises NotThereError for a hand that the index does not hold,
    HandsimError when it has no top_k hands, or for less than one worker.
    """
    if workers < 1:
        raise HandsimError(f"{workers} workers cannot mine; take at least 1")
    ask = _Miner(policy, ef)
    batches = [hand_ids[start : start + _BATCH_HANDS] for start in range(0, len(hand_ids), _BATCH_HANDS)]
    if workers == 1 or version.address is None:
        answers: Iterator[Answer] = (ask(version, batch) for batch in batches)
    else:
        answers = ask_in_turn(version.address, version.info.name, batches, ask, workers)
    done = 0
    for batch, (positives, distances) in zip(batches, answers, strict=True):
        yield MinedPairs(batch, positives, distances)
        done += len(batch)
        if progress is not None:
            progress(done, len(hand_ids))


@dataclass(frozen=True)
class _Miner:
    """What is asked about a batch of hands, here or in another process."""

    policy: MiningPolicy
    ef: int | None

    def __call__(self, version: IndexVersion, batch: NDArray[np.uint64]) -> Answer:
        policy = self.policy
        options = SearchOptions(
            one_per_video=policy.one_per_video, max_distance=policy.max_distance, ef=self.ef
        )
        found = version.search_hands(batch, policy.top_k, other_video=policy.other_video, options=options)
        wanted = slice(policy.first_rank - 1, None)
        return found.hand_ids[:, wanted], found.distances[:, wanted]


PAIRS_SCHEMA: Final = pa.schema(
    [
        pa.field("hand_id", pa.uint64(), nullable=False),
        pa.field("positive_id", pa.uint64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # 1 is the nearest of the positives mined
        pa.field("distance", pa.float32(), nullable=False),  # in the index's embedding
    ]
)


def write_pairs(path: str | Path, batches: Iterable[MinedPairs], mined_from: VersionInfo) -> int:
    """Write pairs as they come, and the file under its name only once it is whole; returns how many.

    The file's metadata tells the index version and the fingerprint of the embedding they were mined in.
    """
    path = Path(path)
    facts = {"index_version": mined_from.name, "embedding_fingerprint": mined_from.embedding_fingerprint}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with pq.ParquetWriter(temporary, PAIRS_SCHEMA.with_metadata(facts), compression="zstd") as writer:
            for batch in batches:
                rows, ranks = np.nonzero(batch.found)
                count += len(rows)
                columns = [
                    batch.hand_ids[rows],
                    batch.positives[rows, ranks],
                    (ranks + 1).astype(np.int32),
                    batch.distances[rows, ranks],
                ]
                writer.write_table(pa.table(columns, schema=writer.schema))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count

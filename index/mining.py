"""Positives for every hand of an index: SiMHand's mining (arXiv 2502.15251, section 3.2).

`mine` yields them batch by batch, in bounded memory; `write_pairs` stores them as Parquet, a row for each
pair. Qdrant Edge answers on one core and holds Python's lock meanwhile: more workers are processes, each
with the version open.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.files import replacing
from handsim.processes import PipeWorker
from index.catalog import open_catalog
from index.info import VersionInfo
from index.points import Progress
from index.query import SearchOptions
from index.version import IndexVersion

_BATCH_HANDS: Final = 2048
_BATCHES_PER_PROCESS: Final = 2
"""The batch that a process mines, and the next one, so that it never waits."""


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
    """Rank videos instead of hands, each by its nearest hand."""
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
    def is_found(self) -> NDArray[np.bool_]:
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

    More than one worker are processes; a version that no other process can open is searched in this one.
    Raises NotThereError for a hand that the index does not hold, HandsimError when it has no top_k hands,
    or for less than one worker.
    """
    if workers < 1:
        raise HandsimError(f"{workers} workers cannot mine; take at least 1")
    miner = _Miner(policy, ef)
    batches = [hand_ids[start : start + _BATCH_HANDS] for start in range(0, len(hand_ids), _BATCH_HANDS)]
    if workers == 1 or version.address is None:
        mined: Iterator[MinedPairs] = (miner.mine(version, batch) for batch in batches)
    else:
        mined = _mine_in_processes(version.address, version.info.name, batches, miner, workers)
    done = 0
    for pairs in mined:
        yield pairs
        done += len(pairs)
        if progress is not None:
            progress(done, len(hand_ids))


PAIRS_SCHEMA: Final = pa.schema(
    [
        pa.field("hand_id", pa.uint64(), nullable=False),
        pa.field("positive_id", pa.uint64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # 1 is the nearest of the positives mined
        pa.field("distance", pa.float32(), nullable=False),  # in the index's embedding
    ]
)


def write_pairs(path: str | Path, batches: Iterable[MinedPairs], mined_from: VersionInfo) -> int:
    """Write pairs as they come; the file appears under its name once it is complete. Returns how many.

    Its metadata hold the index version and the fingerprint of the embedding they were mined in.
    """
    metadata = {"index_version": mined_from.name, "embedding_fingerprint": mined_from.embedding_fingerprint}
    count = 0
    with (
        replacing(Path(path)) as temporary,
        pq.ParquetWriter(temporary, PAIRS_SCHEMA.with_metadata(metadata), compression="zstd") as writer,
    ):
        for batch in batches:
            rows, ranks = np.nonzero(batch.is_found)
            count += len(rows)
            columns = [
                batch.hand_ids[rows],
                batch.positives[rows, ranks],
                (ranks + 1).astype(np.int32),
                batch.distances[rows, ranks],
            ]
            writer.write_table(pa.table(columns, schema=writer.schema))
    return count


@dataclass(frozen=True)
class _Miner:
    """Mines a batch of hands, here or in another process."""

    policy: MiningPolicy
    ef: int | None

    def mine(self, version: IndexVersion, hand_ids: NDArray[np.uint64]) -> MinedPairs:
        policy = self.policy
        options = SearchOptions(
            one_per_video=policy.one_per_video, max_distance=policy.max_distance, ef=self.ef
        )
        neighbors = version.search_hands(
            hand_ids, policy.top_k, other_video=policy.other_video, options=options
        )
        ranks = slice(policy.first_rank - 1, None)
        return MinedPairs(hand_ids, neighbors.hand_ids[:, ranks], neighbors.distances[:, ranks])


def _mine_in_processes(
    address: str, name: str, batches: Sequence[NDArray[np.uint64]], miner: _Miner, workers: int
) -> Iterator[MinedPairs]:
    """The pairs of each batch, in order. The processes take turns, so that the order needs no bookkeeping."""
    processes = [PipeWorker(_serve, address, name, miner) for _ in range(min(workers, len(batches)))]
    try:
        waiting: deque[PipeWorker] = deque()
        for batch, process in zip(batches, cycle(processes), strict=False):
            is_full = len(waiting) == _BATCHES_PER_PROCESS * len(processes)
            pairs = _receive(waiting.popleft()) if is_full else None
            process.connection.send(batch)
            waiting.append(process)
            if pairs is not None:
                yield pairs
        while waiting:
            yield _receive(waiting.popleft())
    finally:
        for process in processes:
            process.stop()


def _receive(process: PipeWorker) -> MinedPairs:
    try:
        message = process.connection.recv()
    except (EOFError, ConnectionError) as error:
        raise HandsimError(
            "a mining process ended without an answer; see its output above, or take fewer --workers"
        ) from error
    if isinstance(message, Exception):
        raise message
    assert isinstance(message, MinedPairs)
    return message


def _serve(connection: Connection, address: str, name: str, miner: _Miner) -> None:
    """Mine each batch that comes through the pipe; end with an error that is sent back."""
    try:
        with open_catalog(address) as catalog, catalog.open(name) as version:
            while True:
                connection.send(miner.mine(version, connection.recv()))
    except HandsimError as error:
        connection.send(error)

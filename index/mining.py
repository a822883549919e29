"""Positives for every hand of an index: SiMHand's mining (arXiv 2502.15251, section 3.2).

`mine` yields them batch by batch, in bounded memory; `write_pairs` stores them as Parquet, a row for each
pair, `write_pairs_as_csv` as text. Qdrant Edge answers on one core and holds Python's lock meanwhile: more
workers are processes, each with the version open.
"""

import csv
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.cluster import TRIES, ClusterOptions, ClusterWorkers, Lost
from handsim.embedding import Embedding
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.files import replacing
from handsim.hand import format_hand_id
from handsim.pool import Pool
from handsim.pool.duplicates import DuplicateGroups
from handsim.processes import PipeWorker, available_cores, stop_workers
from index.catalog import open_catalog
from index.info import VersionInfo
from index.points import Progress
from index.query import DEFAULT_OPTIONS, MIN_POSITIVE_DISTANCE, Neighbors, SearchOptions
from index.version import IndexVersion

_BATCH_HANDS: Final = 2048
QUANTILE_HANDS: Final = 2000
"""Hands that a quantile of distances is measured on; the median's rank is then off by 1 % of the hands."""
_BATCHES_PER_PROCESS: Final = 2
"""The batch that a process mines, and the next one, so that it never waits."""


@dataclass(frozen=True)
class MiningPolicy:
    """Which neighbours of a hand are its positives.

    What is left out as too near or a duplicate has no rank: the next ones move up. Raises HandsimError for
    ranks that are not 1 <= first_rank <= top_k and for a distance below 0.
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
    min_distance: float = MIN_POSITIVE_DISTANCE
    """Leave out what is nearer than this, in the index's embedding: the same picture under another name."""
    keep_duplicates: bool = False
    """Take hands, too, that `handsim pool duplicates` found to be duplicates of the anchor."""
    max_quantile: float | None = None
    """Leave out what is further than this quantile of the distances at which hands have their nearest
    positive, in the version that is asked: 0.5 is their median, and leaves half of the hands without one."""

    def __post_init__(self) -> None:
        if not 1 <= self.first_rank <= self.top_k:
            raise HandsimError(
                f"ranks {self.first_rank} to {self.top_k} cannot be mined; ranks count from 1, first to last"
            )
        for name, distance in (("max_distance", self.max_distance), ("min_distance", self.min_distance)):
            if distance is not None and not (math.isfinite(distance) and distance >= 0):
                raise HandsimError(f"{name} is {distance}; it is a distance of at least 0")
        if self.max_quantile is not None and not 0 < self.max_quantile <= 1:
            raise HandsimError(f"max_quantile is {self.max_quantile}; it is above 0 and at most 1")


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
    too_near: int = 0
    """How many hands would have been positives, but are nearer than the policy's min_distance."""
    duplicates: int = 0
    """How many further ones would have been, but are duplicates of their anchors."""

    @classmethod
    def concatenate(cls, batches: Iterable["MinedPairs"]) -> "MinedPairs":
        """All batches (at least one) as one."""
        parts = list(batches)
        return cls(
            np.concatenate([part.hand_ids for part in parts]),
            np.concatenate([part.positives for part in parts]),
            np.concatenate([part.distances for part in parts]),
            sum(part.too_near for part in parts),
            sum(part.duplicates for part in parts),
        )

    def select(self, rows: NDArray[np.bool_]) -> "MinedPairs":
        """Those of some anchors [N]; what was left out is not counted again."""
        return MinedPairs(self.hand_ids[rows], self.positives[rows], self.distances[rows])

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """[N, K] where there is a positive."""
        return np.isfinite(self.distances)

    def __len__(self) -> int:
        return len(self.hand_ids)


@dataclass
class MiningTally:
    """What was mined so far."""

    policy: MiningPolicy
    hands: int = 0
    """Anchors."""
    with_positive: int = 0
    """Of them, those that have one."""
    pairs: int = 0
    too_near: int = 0
    """See `MinedPairs.too_near`."""
    duplicates: int = 0
    """See `MinedPairs.duplicates`."""

    def count(self, batches: Iterable[MinedPairs]) -> Iterator[MinedPairs]:
        """The batches as they come; each is counted before it is handed on."""
        for batch in batches:
            self.hands += len(batch)
            self.with_positive += int(batch.is_found.any(axis=1).sum())
            self.pairs += int(batch.is_found.sum())
            self.too_near += batch.too_near
            self.duplicates += batch.duplicates
            yield batch

    def describe_left_out(self) -> str:
        """A line for people; empty where nothing was left out."""
        counts = [
            (self.too_near, f"nearer than {self.policy.min_distance:g}"),
            (self.duplicates, "duplicates of their query hands"),
        ]
        return " and ".join(f"{count:,} {what}" for count, what in counts if count)

    def describe_lack(self, pool: Pool) -> str | None:
        """A line for people where less than half of the hands have a positive, with what may help."""
        if 2 * self.with_positive >= self.hands:
            return None
        hands = pluralize(self.hands, "hand has", "hands have")
        return f"{self.with_positive:,} of {hands} a match: " + explain_lack(
            pool, self.policy, bool(self.too_near or self.duplicates)
        )


def explain_lack(pool: Pool, policy: MiningPolicy, left_out: bool = False) -> str:
    """Why hands of a pool may have no positive, and what may help."""
    videos = [pool.videos.names[code] for code in np.unique(pool.videos.codes).tolist()]
    if policy.other_video and len(videos) == 1:
        return (
            f"all are of one video (`{videos[0]}`); ingest more videos, tell them apart with `handsim ingest "
            f"--video-from`, or allow the same video (`mine --same-video`, `pairs.policy.other_video false`)"
        )
    if policy.max_quantile is not None:
        return (
            f"the others' are beyond max_quantile {policy.max_quantile:g}, which leaves so many without one"
        )
    if policy.max_distance is not None:
        return f"the others have none within max_distance {policy.max_distance:g}; take a larger one"
    if left_out:
        return "for the others there are only copies of themselves; ingest more videos"
    return "the others found no hand of another video, with a picture; ingest more, or `handsim index add`"


def read_hands_of_pool(version: IndexVersion, pool: Pool) -> NDArray[np.uint64]:
    """Ids [N] of a version's hands, rising; raises HandsimError where the pool lacks any.

    A hand that was removed since must not become a positive.
    """
    pages = [page.hand_ids for page in version.scroll(with_payload=False)]
    hand_ids = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *pages]))
    if missing := int((~np.isin(hand_ids, pool.hand_ids)).sum()):
        raise HandsimError(
            f"{missing:,} of the {len(hand_ids):,} hands of index version {version.info.name} "
            f"{'is' if missing == 1 else 'are'} not in the pool {pool.path}; `handsim index add` makes a "
            f"version without, or name the home of the index's own pool"
        )
    return hand_ids


def mine(
    version: IndexVersion,
    hand_ids: NDArray[np.uint64],
    policy: MiningPolicy = DEFAULT_POLICY,
    *,
    duplicates: DuplicateGroups | None = None,
    workers: int | None = 1,
    cluster: ClusterOptions | None = None,
    say: Callable[[str], None] = lambda line: None,
    ef: int | None = None,
    progress: Progress | None = None,
) -> Iterator[MinedPairs]:
    """The positives of hands [N] of the index, batch by batch in their order, in bounded memory.

    Hands of one group of ``duplicates`` are no positives of each other, unless the policy keeps them. More
    than one worker are processes; a version that no other process can open is searched in this one. On a
    Ray ``cluster`` all its nodes mine (``workers`` None: with all cores), and ``say`` gets lines on it.
    Raises NotThereError for a hand that the index does not hold, HandsimError when it has no top_k hands,
    for less than one worker, or for a cluster as `ClusterWorkers` does.
    """
    if workers is not None and workers < 1:
        raise HandsimError(f"{workers} workers cannot mine; take at least 1")
    policy = resolve_quantile(version, policy, hand_ids)
    miner = Miner(policy, None if policy.keep_duplicates else duplicates, ef)
    mined: Iterator[MinedPairs]
    batches = [hand_ids[start : start + _BATCH_HANDS] for start in range(0, len(hand_ids), _BATCH_HANDS)]
    if cluster is not None:
        mined = _mine_on_cluster(cluster, version, batches, miner, workers, say)
    elif workers == 1 or version.address is None:
        mined = (miner.mine(version, batch) for batch in batches)
    else:
        processes = available_cores() if workers is None else workers
        mined = _mine_in_processes(version.address, version.info.name, batches, miner, processes)
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


def write_pairs(
    path: str | Path,
    batches: Iterable[MinedPairs],
    mined_from: VersionInfo | Embedding,
    *,
    up_to_turn: bool = False,
) -> int:
    """Write pairs as they come; the file appears under its name once it is complete. Returns how many.

    Its metadata hold the index version they were mined from (an embedding alone: ``mined`` is ``in bulk``),
    the fingerprint of the embedding, whether its pairs are alike only up to a turn in the picture, and how
    many hands were left out as too near or as duplicates.
    """
    if isinstance(mined_from, VersionInfo):
        metadata = {
            "index_version": mined_from.name,
            "embedding_fingerprint": mined_from.embedding_fingerprint,
        }
    else:
        metadata = {"mined": "in bulk", "embedding_fingerprint": mined_from.fingerprint}
    if up_to_turn:
        metadata["up_to_turn"] = "true"
    left_out = {"left_out_too_near": 0, "left_out_duplicates": 0}
    count = 0
    with (
        replacing(Path(path)) as temporary,
        pq.ParquetWriter(temporary, PAIRS_SCHEMA.with_metadata(metadata), compression="zstd") as writer,
    ):
        for batch in batches:
            rows, ranks = np.nonzero(batch.is_found)
            count += len(rows)
            left_out["left_out_too_near"] += batch.too_near
            left_out["left_out_duplicates"] += batch.duplicates
            columns = [
                batch.hand_ids[rows],
                batch.positives[rows, ranks],
                (ranks + 1).astype(np.int32),
                batch.distances[rows, ranks],
            ]
            writer.write_table(pa.table(columns, schema=writer.schema))
        writer.add_key_value_metadata({name: str(hands) for name, hands in left_out.items()})
    return count


def write_pairs_as_csv(path: str | Path, batches: Iterable[MinedPairs]) -> int:
    """As `write_pairs`, for people and spreadsheets: the columns of `PAIRS_SCHEMA`, with ids in hex."""
    count = 0
    with replacing(Path(path)) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PAIRS_SCHEMA.names)
        for batch in batches:
            rows, ranks = np.nonzero(batch.is_found)
            count += len(rows)
            writer.writerows(
                (format_hand_id(hand_id), format_hand_id(positive), rank, f"{distance:.6f}")
                for hand_id, positive, rank, distance in zip(
                    batch.hand_ids[rows].tolist(),
                    batch.positives[rows, ranks].tolist(),
                    (ranks + 1).tolist(),
                    batch.distances[rows, ranks].tolist(),
                    strict=True,
                )
            )
    return count


class HandSearch(Protocol):
    """What is mined: a version of an index, or a pool in memory (`index.bulk`)."""

    def search_hands(
        self,
        hand_ids: NDArray[np.uint64],
        k: int = 10,
        *,
        other_video: bool = False,
        options: SearchOptions = DEFAULT_OPTIONS,
        duplicates: DuplicateGroups | None = None,
    ) -> Neighbors:
        """See `index.version.IndexVersion.search_hands`."""
        ...

    def __len__(self) -> int:
        """How many hands it searches, the most that it can answer."""
        ...


@dataclass(frozen=True)
class Miner:
    """Mines a batch of hands, here or in another process."""

    policy: MiningPolicy
    duplicates: DuplicateGroups | None
    """Groups whose hands are no positives of each other."""
    ef: int | None = None
    """Candidates examined in the graph, where there is one."""

    def mine(self, search: HandSearch, hand_ids: NDArray[np.uint64]) -> MinedPairs:
        """The positives of hands [N]."""
        policy = self.policy
        options = SearchOptions(
            one_per_video=policy.one_per_video, max_distance=policy.max_distance, ef=self.ef
        )
        # A search that leaves hands out costs more. Few anchors have any to leave out, so it is their second.
        nearest = search.search_hands(hand_ids, policy.top_k, other_video=policy.other_video, options=options)
        too_near = nearest.is_found & (nearest.distances < policy.min_distance)
        copies = self._find_copies(hand_ids, nearest) & ~too_near
        again = (too_near | copies).any(axis=1)
        if again.any():
            nearest = nearest.keep(~too_near & ~copies)
            if policy.max_distance is None or policy.min_distance <= policy.max_distance:
                further = search.search_hands(
                    hand_ids[again],
                    policy.top_k,
                    other_video=policy.other_video,
                    options=replace(options, min_distance=policy.min_distance),
                    duplicates=self.duplicates,
                )
                nearest.hand_ids[again], nearest.distances[again] = further.hand_ids, further.distances
        ranks = slice(policy.first_rank - 1, None)
        return MinedPairs(
            hand_ids,
            nearest.hand_ids[:, ranks],
            nearest.distances[:, ranks],
            too_near=int(too_near.sum()),
            duplicates=int(copies.sum()),
        )

    def _find_copies(self, hand_ids: NDArray[np.uint64], found: Neighbors) -> NDArray[np.bool_]:
        """[Q, K] which of the hands found are duplicates of their anchors [Q]."""
        if self.duplicates is None:
            return np.zeros(found.hand_ids.shape, dtype=np.bool_)
        groups = self.duplicates.group_of(hand_ids)[:, None]
        return np.asarray((groups >= 0) & (self.duplicates.group_of(found.hand_ids) == groups))


def resolve_quantile(search: HandSearch, policy: MiningPolicy, hand_ids: NDArray[np.uint64]) -> MiningPolicy:
    """The policy with a distance in the place of its quantile, if it has one.

    That is measured on the nearest positives of hands [N], or of some that lie evenly among their ids: the
    same hands and version give the same distance.
    """
    if policy.max_quantile is None or not len(hand_ids):
        return policy
    rows = np.linspace(0, len(hand_ids) - 1, min(QUANTILE_HANDS, len(hand_ids))).astype(np.int64)
    nearest = replace(policy, top_k=1, first_rank=1, max_quantile=None)
    mined = Miner(nearest, None).mine(search, np.sort(hand_ids)[rows])
    distances = mined.distances[mined.is_found]
    if not len(distances):
        return replace(policy, max_quantile=None)
    distance = float(np.quantile(distances, policy.max_quantile))
    if policy.max_distance is not None:
        distance = min(distance, policy.max_distance)
    return replace(policy, max_distance=distance, max_quantile=None)


def _mine_in_processes(
    address: str, name: str, batches: Sequence[NDArray[np.uint64]], miner: Miner, workers: int
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
        stop_workers(processes)


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


def _serve(connection: Connection, address: str, name: str, miner: Miner) -> None:
    """Mine each batch that comes through the pipe; end with an error that is sent back."""
    try:
        with open_catalog(address) as catalog, catalog.open(name) as version:
            while True:
                connection.send(miner.mine(version, connection.recv()))
    except HandsimError as error:
        connection.send(error)


def _mine_on_cluster(
    cluster: ClusterOptions,
    version: IndexVersion,
    batches: Sequence[NDArray[np.uint64]],
    miner: Miner,
    workers: int | None,
    say: Callable[[str], None],
) -> Iterator[MinedPairs]:
    """The pairs of each batch, in order."""
    address = version.address
    if address is None:
        raise HandsimError("an index in memory cannot be mined on a cluster; mine it here")
    paths = [] if "://" in address else [address]
    if paths:
        address = os.path.abspath(address)
    miners: ClusterWorkers[NDArray[np.uint64], MinedPairs] = ClusterWorkers(
        cluster, _MinerFactory(address, version.info.name, miner), most_workers=workers, paths=paths, say=say
    )
    with miners:
        for batch, pairs in miners.run(iter(batches), in_order=True):
            if isinstance(pairs, Lost):
                raise HandsimError(
                    f"{TRIES} workers died while they mined the hands {format_hand_id(int(batch[0]))} to "
                    f"{format_hand_id(int(batch[-1]))}; see Ray's logs on the nodes"
                )
            yield pairs


@dataclass(frozen=True)
class _MinerFactory:
    """Opens the version in a worker's process on the cluster."""

    address: str
    name: str
    miner: Miner

    def __call__(self) -> "_ClusterMiner":
        return _ClusterMiner(open_catalog(self.address).open(self.name), self.miner)


class _ClusterMiner:
    def __init__(self, version: IndexVersion, miner: Miner) -> None:
        self._version, self._miner = version, miner

    def process(self, batch: NDArray[np.uint64]) -> MinedPairs:
        return self._miner.mine(self._version, batch)

    def is_hung(self) -> bool:
        return False  # nothing of it is known to hang

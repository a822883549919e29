"""Neighbours that the index finds while training: the pairs of SiMHand, without a mining step before.

`LiveNeighbors` asks an index. `QueryProcess` runs it in a process of its own: both engines hold Python's lock
while an answer is made or unpacked, and the trainer could not send work to the GPU meanwhile.
`RetryingPairSource` waits while the index is unavailable: a server that restarts does not end a run. Nothing
here imports torch, which that process would have to load.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import deepcopy
from multiprocessing.connection import Connection
from threading import Event, Lock
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError, UnavailableError
from handsim.pool.duplicates import DuplicateGroups
from handsim.processes import PipeWorker
from index import LiveIndex, open_catalog
from index.among import search_among
from index.bulk import mine_in_bulk
from index.mining import QUANTILE_HANDS, HandSearch, MinedPairs, MiningPolicy, mine, resolve_quantile
from index.query import NO_HAND, SearchOptions
from index.version import IndexVersion
from training.pairs.settings import PairSettings
from training.pairs.sources import HandSet, PairDraw, PairSource, choose_valid

_CLOSE_TIMEOUT_S: Final = 2.0
_EXIT_TIMEOUT_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0

OnWait = Callable[[UnavailableError | None, float], None]
"""Called with (error, 0) when the index stops answering, with (None, seconds waited) when it does again."""


class VersionProvider(Protocol):
    """Says which version of the index to ask; `index.LiveIndex` says the current one."""

    def version(self) -> AbstractContextManager[IndexVersion]:
        """The version to ask, open until the block ends."""

    def close(self) -> None:
        """Release it."""


class PinnedVersion:
    """A `VersionProvider` that stays in one version, whatever is published."""

    def __init__(self, version: IndexVersion) -> None:
        """`close` closes the version."""
        self._version = version

    @contextmanager
    def version(self) -> Iterator[IndexVersion]:
        """Always the same one."""
        yield self._version

    def close(self) -> None:
        """Close the version."""
        self._version.close()


class LiveNeighbors(PairSource):
    """Asks the index about a whole batch at once, anew for every batch.

    An anchor that the version lacks (it was ingested later, or the index was rolled back) is paired with
    itself. A neighbour whose crop the pool lacks (it was ingested after the pool was opened) counts as not
    found.
    """

    def __init__(
        self,
        index: VersionProvider,
        settings: PairSettings,
        pool_hands: HandSet,
        duplicates: DuplicateGroups | None = None,
        *,
        with_vectors: bool = False,
    ) -> None:
        """``pool_hands`` are the hands of the pool, with crops; ``index`` is closed with this.

        Hands of one group of ``duplicates`` are no pairs, unless the policy keeps them. Draws bring the
        vectors of their hands only ``with_vectors``: that is one more look-up for a batch.
        """
        self._index, self._settings, self._pool_hands = index, settings, pool_hands
        self._duplicates, self._with_vectors = duplicates, with_vectors
        self._search: tuple[tuple[str, str], HandSearch] | None = None
        """Name and checksum of the last version, and what searches it for hands of lists alone."""
        self._version_hands: tuple[tuple[str, str], HandSet] | None = None
        """Name and checksum of the last version, and its hands; only read if it lacked an anchor."""
        self._policy: tuple[tuple[str, str], MiningPolicy] | None = None
        """Name and checksum of the last version, and the policy with its distance for a quantile."""
        self._busy = Lock()
        self._closed = False

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """Positives by the policy, and negatives from the band, of anchors [B].

        Raises UnavailableError while the index does not answer, NotThereError where none was published, and
        HandsimError where it has fewer hands than the policy has ranks.
        """
        with self._busy:
            if self._closed:
                raise HandsimError("the pairs' index was closed; open the pairs again")
            with self._index.version() as version:
                identity = version.info.name, version.info.checksum
                if self._version_hands is not None and self._version_hands[0] != identity:
                    self._version_hands = None
                try:
                    return self._draw(version, anchors, rng)
                except NotThereError:
                    if self._version_hands is not None:
                        raise
                    # A version rarely lacks hands, so its hands are only read once it turns out to.
                    self._version_hands = identity, read_hand_set(version)
                    return self._draw(version, anchors, rng)

    def close(self) -> None:
        """Close the index, unless a draw goes on for over two seconds."""
        self._closed = True
        if self._busy.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._index.close()
            self._busy.release()

    def _draw(self, version: IndexVersion, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        embedding = version.embedding
        self._settings.check_kind(
            f"index version {version.info.name}", depth=embedding.depth, up_to_turn=embedding.up_to_turn
        )
        in_index = np.ones(len(anchors), dtype=np.bool_)
        if self._version_hands is not None:
            in_index = self._version_hands[1].contains(anchors)
        positives = anchors.copy()
        distances = np.full(len(anchors), np.nan, dtype=np.float32)
        left_out = 0
        if in_index.any():
            mined = self._mine(version, anchors[in_index])
            left_out = mined.too_near + mined.duplicates
            valid = mined.is_found & self._pool_hands.contains(mined.positives)
            columns, chosen = choose_valid(valid, 1, rng)
            rows = np.flatnonzero(in_index)[chosen[:, 0]]
            positives[rows] = np.take_along_axis(mined.positives, columns, axis=1)[chosen]
            distances[rows] = np.take_along_axis(mined.distances, columns, axis=1)[chosen]
        negatives, random_negatives = self._negatives(version, anchors, positives, in_index, rng)
        vectors = None
        if self._with_vectors:
            vectors = version.find_vectors(np.concatenate([anchors, positives, negatives.reshape(-1)]))
        return PairDraw(
            anchors=anchors,
            positives=positives,
            distances=distances,
            negatives=negatives,
            version=version.info.name,
            without_positive=int((positives == anchors).sum()),
            not_in_index=int((~in_index).sum()),
            random_negatives=random_negatives,
            up_to_turn=embedding.up_to_turn,
            left_out=left_out,
            vectors=vectors,
        )

    def _mine(self, version: IndexVersion, anchors: NDArray[np.uint64]) -> MinedPairs:
        policy, ef = self._resolve_policy(version), self._settings.ef
        search = self._restrict(version)
        if search is version:
            batches = mine(version, anchors, policy, duplicates=self._duplicates, ef=ef)
        else:
            batches = mine_in_bulk(search, anchors, policy, duplicates=self._duplicates)
        return MinedPairs.concatenate(batches)

    def _restrict(self, version: IndexVersion) -> HandSearch:
        """The version, or a search among the hands of the settings' lists, opened once for each version."""
        if self._settings.include_list is None and self._settings.exclude_list is None:
            return version
        identity = version.info.name, version.info.checksum
        if self._search is None or self._search[0] != identity:
            self._search = identity, search_among(version, self._pool_hands.hand_ids)
        return self._search[1]

    def _resolve_policy(self, version: IndexVersion) -> MiningPolicy:
        """The policy in the distances of a version: a quantile is measured once, on hands of the pool."""
        policy = self._settings.policy
        if policy.max_quantile is None:
            return policy
        identity = version.info.name, version.info.checksum
        if self._policy is None or self._policy[0] != identity:
            hand_ids = self._pool_hands.hand_ids
            some = hand_ids[:: max(1, len(hand_ids) // QUANTILE_HANDS)]
            known = some[~np.isnan(version.find_vectors(some)[:, 0])]
            self._policy = identity, resolve_quantile(self._restrict(version), policy, known)
        return self._policy[1]

    def _negatives(
        self,
        version: IndexVersion,
        anchors: NDArray[np.uint64],
        positives: NDArray[np.uint64],
        in_index: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint64], int]:
        """Negatives [B, n], and how many of them are not from the band, but drawn from all hands."""
        settings, count = self._settings, self._settings.negatives_per_anchor
        negatives = np.full((len(anchors), count), NO_HAND, dtype=np.uint64)
        if count and in_index.any():
            options = SearchOptions(
                min_distance=settings.negative_min_distance,
                max_distance=settings.negative_max_distance,
                ef=settings.ef,
            )
            most = max(count, min(settings.negative_top_k, len(version)))
            search = self._restrict(version)
            neighbors = search.search_hands(
                anchors[in_index], min(most, len(search)), other_video=True, options=options
            ).resize(most)
            valid = neighbors.is_found & self._pool_hands.contains(neighbors.hand_ids)
            # A hand of the batch is in every denominator already, and no negative of its own pair.
            valid &= ~np.isin(neighbors.hand_ids, np.concatenate([anchors, positives]))
            columns, chosen = choose_valid(valid, count, rng)
            hands = np.take_along_axis(neighbors.hand_ids, columns, axis=1)
            negatives[in_index] = np.where(chosen, hands, np.uint64(NO_HAND))
        flat = negatives.reshape(-1)
        first = np.zeros(len(flat), dtype=np.bool_)
        first[np.unique(flat, return_index=True)[1]] = True
        flat[~first] = NO_HAND
        missing = flat == NO_HAND
        taken = np.concatenate([anchors, positives, flat])
        flat[missing] = self._random_hands(taken, int(missing.sum()), rng)
        return negatives, int(missing.sum())

    def _random_hands(
        self, taken: NDArray[np.uint64], count: int, rng: np.random.Generator
    ) -> NDArray[np.uint64]:
        """Different hands [count] of the pool that are not ``taken``."""
        if not count:
            return np.empty(0, dtype=np.uint64)
        pool = self._pool_hands.hand_ids
        # Even if all of `taken` are among them, `count` are left.
        candidates = rng.choice(pool, min(count + len(taken), len(pool)), replace=False)
        hands = candidates[~np.isin(candidates, taken)][:count]
        assert len(hands) == count, "the pool is large enough for a batch with its negatives: see open_pairs"
        return hands


def read_hand_set(version: IndexVersion) -> HandSet:
    """All hands of an index version."""
    pages = [page.hand_ids for page in version.scroll(with_payload=False)]
    return HandSet(np.concatenate([np.empty(0, dtype=np.uint64), *pages]))


class RetryingPairSource(PairSource):
    """Asks another source again, after longer and longer pauses, while its index is away."""

    def __init__(
        self,
        source: PairSource,
        timeout_s: float,
        *,
        on_wait: OnWait | None = None,
        pause: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """It gives up ``timeout_s`` after the index first did not answer.

        ``pause`` sleeps for some seconds and returns True to give up; None: it sleeps until `stop_waiting`.
        """
        self._source, self._timeout_s = source, timeout_s
        self._on_wait = on_wait or (lambda error, waited_s: None)
        self._stopped = Event()
        self._pause, self._clock = pause or self._stopped.wait, clock

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """The other source's pairs; raises UnavailableError once the index was away for too long."""
        try:
            return self._try(anchors, rng)
        except UnavailableError as unavailable:
            error, since = unavailable, self._clock()
        self._on_wait(error, 0.0)
        pause_s = _FIRST_PAUSE_S
        while (left_s := self._timeout_s - (self._clock() - since)) > 0:
            if self._pause(min(pause_s, left_s)):
                break
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                pairs = self._try(anchors, rng)
            except UnavailableError as unavailable:
                error = unavailable
            else:
                self._on_wait(None, self._clock() - since)
                return pairs
        waited_s = self._clock() - since
        raise UnavailableError(f"the index did not answer for {waited_s:.0f} s: {error}") from error

    def stop_waiting(self) -> None:
        """Give up at once on an index that is away, now or later; a signal's handler may call this."""
        self._stopped.set()

    def close(self) -> None:
        """Stop waiting, and close the other source."""
        self.stop_waiting()
        self._source.close()

    def _try(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        # A failed try may have drawn random numbers; the next one starts from the same state.
        return self._source.draw(anchors, deepcopy(rng))


class QueryProcess(PairSource):
    """`LiveNeighbors` in another process, with the same answers."""

    def __init__(
        self,
        address: str,
        pinned: str | None,
        settings: PairSettings,
        pool_hands: HandSet,
        duplicates: DuplicateGroups | None = None,
        *,
        with_vectors: bool = False,
    ) -> None:
        """Start it, on the index at an address, to stay in the version ``pinned`` if one is named.

        It takes a second to be ready. What goes wrong until then is raised by the first `draw`.
        """
        self._worker = PipeWorker(_serve, address, pinned, settings, pool_hands, duplicates, with_vectors)
        self._drawing, self._sending = Lock(), Lock()

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """The pairs of anchors [B]; raises as `LiveNeighbors.draw`, and HandsimError if the process ended."""
        try:
            with self._drawing:
                with self._sending:
                    self._worker.connection.send((anchors, rng))
                answer: PairDraw | HandsimError = self._worker.connection.recv()
        except (EOFError, OSError) as error:
            self._worker.process.join(_EXIT_TIMEOUT_S)
            raise HandsimError(
                f"the process that queries the index ended with exit code {self._worker.process.exitcode}; "
                f"its messages are above. -9 is what the system does when memory runs out: set "
                f"trainer.workers or pairs.prefetch lower"
            ) from error
        if isinstance(answer, HandsimError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process when it has closed the index, or after a second; a draw on another thread fails."""
        with suppress(OSError), self._sending:  # OSError: it has ended already
            self._worker.connection.send(None)
        self._worker.process.join(_EXIT_TIMEOUT_S)
        if self._worker.process.is_alive():
            self._worker.process.terminate()
            self._worker.process.join()
        with self._drawing:  # the pipe is closed when nobody reads from it
            self._worker.stop()


def _serve(
    connection: Connection,
    address: str,
    pinned: str | None,
    settings: PairSettings,
    pool_hands: HandSet,
    duplicates: DuplicateGroups | None,
    with_vectors: bool,
) -> None:
    """What the process runs: draws pairs until it receives None, or the pipe is closed."""
    source: LiveNeighbors | None = None
    try:
        while (request := connection.recv()) is not None:
            try:
                if source is None:  # opened here, so that a server that is away can be reported, and retried
                    # Without waiting here: `RetryingPairSource` does, and tells of it.
                    catalog = open_catalog(address, wait=False)
                    index = LiveIndex(catalog) if pinned is None else PinnedVersion(catalog.open(pinned))
                    source = LiveNeighbors(index, settings, pool_hands, duplicates, with_vectors=with_vectors)
                connection.send(source.draw(*request))
            except HandsimError as error:
                connection.send(error)
    finally:
        if source is not None:
            source.close()

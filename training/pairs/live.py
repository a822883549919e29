"""Neighbours asked of the index while it trains: the pairs of SiMHand, with no mining step before them.

Waiting for an index that is away: a server that restarts is no reason to end a run.

Asking the index in a process of its own.

The embedded engine holds Python's lock while it answers, and a server's answers are unpacked under it: on a
thread of the trainer, both would stop it from sending work to the GPU. The process holds one version open
and needs no torch.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Event, Lock
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError, UnavailableError
from index import LiveIndex, open_catalog
from index.mining import MinedPairs, mine
from index.query import NO_HAND, SearchOptions
from index.version import IndexVersion
from training.pairs.settings import PairSettings
from training.pairs.sources import HandSet, PairDraw, PairSource, choose_valid

_CLOSING_PATIENCE_S: Final = 2.0


class VersionProvider(Protocol):
    """Who says which version of the index to ask: `index.LiveIndex` the current one."""

    def version(self) -> AbstractContextManager[IndexVersion]:
        """The version to ask, open until the block ends."""

    def close(self) -> None:
        """Let go of it."""


class PinnedVersion:
    """A `VersionProvider` that stays in one version, whatever is published."""

    def __init__(self, version: IndexVersion) -> None:
        """It is closed with this."""
        self._version = version

    @contextmanager
    def version(self) -> Iterator[IndexVersion]:
        """Always the same one."""
        yield self._version

    def close(self) -> None:
        """Let go of it."""
        self._version.close()


class LiveNeighbors:
    """A `PairSource` that asks the index about a whole batch at once, anew for every batch.

    An anchor that the version does not hold (it was ingested since, or the index was rolled back) falls back
    to itself; a neighbour that the pool has no picture of (it was ingested since the pool was opened)
    counts as not found.
    """

    def __init__(self, index: VersionProvider, settings: PairSettings, pictured: HandSet) -> None:
        """``pictured`` are the hands of the pool; ``index`` is closed with this."""
        self._index, self._settings, self._pictured = index, settings, pictured
        self._held: tuple[tuple[str, str], HandSet] | None = None
        self._busy = Lock()
        self._closed = False

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """Positives as the policy has them, and negatives from the band, of anchors [B].

        Raises UnavailableError while the index does not answer, NotThereError where none was published, and
        HandsimError where it has fewer hands than the policy has ranks.
        """
        with self._busy:
            if self._closed:
                raise HandsimError("the pairs' index was closed; open the pairs again")
            with self._index.version() as version:
                return self._ask_version(version, anchors, rng)

    def close(self) -> None:
        """Let go of the index, unless a draw that is under way does not end soon."""
        self._closed = True
        if self._busy.acquire(timeout=_CLOSING_PATIENCE_S):
            self._index.close()
            self._busy.release()

    def _ask_version(
        self, version: IndexVersion, anchors: NDArray[np.uint64], rng: np.random.Generator
    ) -> PairDraw:
        identity = version.info.name, version.info.checksum
        if self._held is not None and self._held[0] != identity:
            self._held = None
        try:
            return self._ask(version, anchors, rng)
        except NotThereError:
            if self._held is not None:
                raise
            # Hardly a version lacks hands, so which ones it holds is only asked once it turns out to.
            self._held = identity, read_hand_set(version)
            return self._ask(version, anchors, rng)

    def _ask(self, version: IndexVersion, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        policy, held = self._settings.policy, np.ones(len(anchors), dtype=np.bool_)
        if self._held is not None:
            held = self._held[1].contains(anchors)
        positives = anchors.copy()
        distances = np.full(len(anchors), np.nan, dtype=np.float32)
        not_in_pool = 0
        if held.any():
            mined = MinedPairs.concatenate(mine(version, anchors[held], policy, ef=self._settings.ef))
            shown = mined.is_found & self._pictured.contains(mined.positives)
            not_in_pool = int(mined.is_found.sum() - shown.sum())
            places, chosen = choose_valid(shown, 1, rng)
            rows = np.flatnonzero(held)[chosen[:, 0]]
            positives[rows] = np.take_along_axis(mined.positives, places, axis=1)[chosen]
            distances[rows] = np.take_along_axis(mined.distances, places, axis=1)[chosen]
        negatives, from_band, strangers = self._negatives(version, anchors, positives, held, rng)
        return PairDraw(
            anchors=anchors,
            positives=positives,
            distances=distances,
            negatives=negatives,
            version=version.info.name,
            without_positive=int((positives == anchors).sum()),
            not_in_index=int((~held).sum()),
            not_in_pool=not_in_pool + strangers,
            random_negatives=negatives.size - from_band,
        )

    def _negatives(
        self,
        version: IndexVersion,
        anchors: NDArray[np.uint64],
        positives: NDArray[np.uint64],
        held: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint64], int, int]:
        """Negatives [B, n], how many are of the band, and how many hands the pool does not hold."""
        settings, count = self._settings, self._settings.negatives_per_anchor
        wanted = np.full((len(anchors), count), NO_HAND, dtype=np.uint64)
        strangers = 0
        if count and held.any():
            options = SearchOptions(
                min_distance=settings.negative_min_distance,
                max_distance=settings.negative_max_distance,
                ef=settings.ef,
            )
            most = max(count, min(settings.negative_top_k, len(version)))
            found = version.search_hands(
                anchors[held], min(most, len(version)), other_video=True, options=options
            ).resize(most)
            shown = found.is_found & self._pictured.contains(found.hand_ids)
            strangers = int(found.is_found.sum() - shown.sum())
            # What is in the batch already is everybody's negative, and must not be its own pair's.
            shown &= ~np.isin(found.hand_ids, np.concatenate([anchors, positives]))
            places, chosen = choose_valid(shown, count, rng)
            drawn = np.take_along_axis(found.hand_ids, places, axis=1)
            wanted[held] = np.where(chosen, drawn, np.uint64(NO_HAND))
        flat = wanted.reshape(-1)
        _drop_repeated(flat)
        missing = flat == NO_HAND
        flat[missing] = self._others(np.concatenate([anchors, positives, flat]), int(missing.sum()), rng)
        return wanted, int((~missing).sum()), strangers

    def _others(self, taken: NDArray[np.uint64], count: int, rng: np.random.Generator) -> NDArray[np.uint64]:
        """Different hands [count] of the pool, drawn at random from those that are not taken."""
        if not count:
            return np.empty(0, dtype=np.uint64)
        everyone = self._pictured.hand_ids
        # Of so many drawn, enough are left over whatever is taken.
        some = rng.choice(everyone, min(count + len(taken), len(everyone)), replace=False)
        others = some[~np.isin(some, taken)][:count]
        assert len(others) == count, "the pool is large enough for a batch with its negatives: see open_pairs"
        return others


def read_hand_set(version: IndexVersion) -> HandSet:
    """All hands that an index version holds."""
    pages = [page.hand_ids for page in version.scroll(with_payload=False)]
    return HandSet(np.concatenate([np.empty(0, dtype=np.uint64), *pages]))


def _drop_repeated(hand_ids: NDArray[np.uint64]) -> None:
    """Leave each hand [n] only where it stands first, in place."""
    first = np.zeros(len(hand_ids), dtype=np.bool_)
    first[np.unique(hand_ids, return_index=True)[1]] = True
    hand_ids[~first] = NO_HAND


_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0

OnWait = Callable[[UnavailableError | None, float], None]
"""Called with (error, 0) when the index turns out to be away, with (None, seconds waited) when it is back."""


class RetryingPairSource:
    """A `PairSource` that asks another one again, ever later, while its index is away."""

    def __init__(
        self,
        source: PairSource,
        patience_s: float,
        *,
        on_wait: OnWait | None = None,
        pause: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """It gives up ``patience_s`` after the index was first found away.

        ``pause`` waits seconds and tells whether to stop waiting for good; None: until `stop_waiting`.
        """
        self._source, self._patience_s = source, patience_s
        self._on_wait = on_wait or (lambda error, waited_s: None)
        self._stopped = Event()
        self._pause, self._clock = pause or self._stopped.wait, clock

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """What the other source draws; raises UnavailableError once the index was waited for too long."""
        try:
            return self._try(anchors, rng)
        except UnavailableError as error:
            since = self._clock()
            self._on_wait(error, 0.0)
            return self._draw_later(anchors, rng, error, since)

    def stop_waiting(self) -> None:
        """Give up at once on an index that is away, now or later; a signal's handler may call this."""
        self._stopped.set()

    def close(self) -> None:
        """Stop waiting, and let go of the other source."""
        self.stop_waiting()
        self._source.close()

    def _draw_later(
        self, anchors: NDArray[np.uint64], rng: np.random.Generator, error: UnavailableError, since: float
    ) -> PairDraw:
        pause_s = _FIRST_PAUSE_S
        while (left_s := self._patience_s - (self._clock() - since)) > 0:
            if self._pause(min(pause_s, left_s)):
                break
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                drawn = self._try(anchors, rng)
            except UnavailableError as another:
                error = another
            else:
                self._on_wait(None, self._clock() - since)
                return drawn
        waited_s = self._clock() - since
        raise UnavailableError(f"the index was waited for {waited_s:.0f} s in vain: {error}") from error

    def _try(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        # A try that fails may have used up some of the random numbers: the next one shall have them all.
        return self._source.draw(anchors, deepcopy(rng))


_GOODBYE_S: Final = 1.0


class QueryProcess:
    """A `PairSource`: `LiveNeighbors` elsewhere, with the same answers."""

    def __init__(self, address: str, pinned: str | None, settings: PairSettings, pictured: HandSet) -> None:
        """Start it, on the index at an address, to stay in the version ``pinned`` if one is named.

        It takes a second to be ready; what goes wrong meanwhile is raised by the first `draw`.
        """
        context = multiprocessing.get_context("spawn")  # neither engine survives a fork
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work,
            args=(theirs, address, pinned, settings, pictured),
            daemon=True,
            name="handsim-pairs",
        )
        self._process.start()
        theirs.close()
        self._asking, self._sending = Lock(), Lock()

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        """The pairs of anchors [B]; raises as `LiveNeighbors.draw`, and HandsimError if the process died."""
        try:
            with self._asking:
                with self._sending:
                    self._connection.send((anchors, rng))
                answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise HandsimError(
                "the process that asks the index died; what it said is above, or memory ran out: "
                "take fewer trainer.workers, or a smaller prefetch"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        drawn: PairDraw = answer
        return drawn

    def close(self) -> None:
        """Have it say goodbye to the index, or else end it; a draw that another thread waits for fails."""
        try:
            with self._sending:
                self._connection.send(None)
        except OSError:
            pass  # it has ended already
        self._process.join(_GOODBYE_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _work(
    connection: Connection, address: str, pinned: str | None, settings: PairSettings, pictured: HandSet
) -> None:
    """The process's whole life: until it is told to end, or the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    source: LiveNeighbors | None = None
    try:
        while (request := connection.recv()) is not None:
            try:
                # Opened here, where a server that is away can be told of, and come back.
                source = source or _open(address, pinned, settings, pictured)
                connection.send(source.draw(*request))
            except HandsimError as error:
                connection.send(error)
    except (EOFError, ConnectionError):
        pass
    finally:
        if source is not None:
            source.close()


def _open(address: str, pinned: str | None, settings: PairSettings, pictured: HandSet) -> LiveNeighbors:
    catalog = open_catalog(address)
    index = LiveIndex(catalog) if pinned is None else PinnedVersion(catalog.open(pinned))
    return LiveNeighbors(index, settings, pictured)

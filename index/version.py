"""One version of an index: what every engine offers, and what all engines share.

Qdrant bounds a distance from above only, and Edge does not group by video. `search_one_per_video` and
`search_admitted` therefore query the engine again, for more hands, until each query has what it needs or
there are no more hands.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.embedding import Embedding
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.hashing import hash64
from handsim.pool.duplicates import DuplicateGroups
from index.info import VersionInfo
from index.points import BATCH_HANDS, Checksum, PointBatch
from index.query import DEFAULT_OPTIONS, Filter, Neighbors, Payload, SearchOptions

SearchFn = Callable[[NDArray[np.intp], int, Sequence[Sequence[str]]], Neighbors]
"""(rows of queries [R], count, videos to leave out for each) -> nearest hands [R, count]."""

Admits = Callable[[NDArray[np.intp], Neighbors], NDArray[np.bool_]]
"""(rows of queries [R], hands found [R, K]) -> [R, K] which of these an answer may hold."""

_HANDS_PER_VIDEO: Final = 4
_GROWTH: Final = 4


class IndexVersion(ABC):
    """An immutable set of hands, and the embedding that made their vectors.

    An engine implements the abstract methods; the public ones mean the same in every engine. Threads may
    share a version; processes may not, not even across a fork: open one in each.
    """

    info: VersionInfo
    """What is known of it."""
    embedding: Embedding
    """The embedding it was built with; every query is embedded with this one."""
    address: str | None = None
    """What `index.open_catalog` takes to open it in another process; None where none can."""
    default_ef: int | None = None
    """Candidates that a query looks at, unless it says how many; None where there is no graph."""
    keeps_vectors_twice: bool = False
    """Whether `vectors` reads others than `search` and `scroll` do: `verify` then reads both."""

    def __len__(self) -> int:
        return self.info.points

    def search(
        self,
        vectors: ArrayLike,
        k: int = 10,
        *,
        not_videos: Sequence[str | None] | None = None,
        not_hands: ArrayLike | None = None,
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> Neighbors:
        """The k nearest hands [Q, k] of each vector [Q, D]; fewer where no more meet the conditions.

        ``not_videos`` [Q] names for each query a video whose hands are left out, ``not_hands`` [Q] one hand
        to leave out. Raises HandsimError for k outside 1..len(self), and for vectors or lists that do not
        fit.
        """
        return self._search_near(vectors, k, not_videos, not_hands, options, None)

    def _search_near(
        self,
        vectors: ArrayLike,
        k: int,
        not_videos: Sequence[str | None] | None,
        not_hands: ArrayLike | None,
        options: SearchOptions,
        admits: Admits | None,
    ) -> Neighbors:
        """`search`, for hands that ``admits`` lets through."""
        vectors = self._check_vectors(vectors)
        self._check_k(k)
        videos = [None] * len(vectors) if not_videos is None else not_videos
        hands = None if not_hands is None else np.asarray(not_hands, dtype=np.uint64)
        for name, entries in (("not_videos", videos), ("not_hands", hands)):
            if entries is not None and len(entries) != len(vectors):
                raise HandsimError(
                    f"{name} has {len(entries)} entries for {len(vectors)} queries; give one each"
                )
        engine_options = replace(options, with_payload=options.with_payload or options.one_per_video)

        def search(rows: NDArray[np.intp], count: int, excluded: Sequence[Sequence[str]]) -> Neighbors:
            if hands is None or options.diversity:
                # With diversity the query's own hand must not be a candidate: others would have to be
                # unlike it.
                own = None if hands is None else hands[rows]
                return self._nearest(vectors[rows], min(count, len(self)), excluded, engine_options, own)
            # Fetching one more and dropping the query's own hand is cheaper than a condition on its id.
            more = self._nearest(vectors[rows], min(count + 1, len(self)), excluded, engine_options)
            return more.keep(more.hand_ids != hands[rows, None]).resize(count)

        excluded = [() if video is None else (video,) for video in videos]
        return self._search(search, k, excluded, options, admits)

    def search_keypoints(
        self,
        keypoints: NDArray[np.floating],
        k: int = 10,
        *,
        not_videos: Sequence[str | None] | None = None,
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> Neighbors:
        """As `search`, for keypoints [Q, 21, 2 or 3] in the crop's unit square, left hands already mirrored.

        Raises HandsimError where the version embeds images: `embedding.embed` takes those.
        """
        vectors = self.embedding.embed(keypoints=np.asarray(keypoints))
        return self.search(vectors, k, not_videos=not_videos, options=options)

    def search_hands(
        self,
        hand_ids: ArrayLike,
        k: int = 10,
        *,
        other_video: bool = False,
        options: SearchOptions = DEFAULT_OPTIONS,
        duplicates: DuplicateGroups | None = None,
        among: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        """As `search`, for hands [Q] of the index; a hand is never its own neighbour.

        With ``other_video`` neither is any hand of its video, with ``duplicates`` none of its group of these,
        with ``among`` [M] (rising ids) any other hand than those. For many queries that is much cheaper than
        `Filter.hands`, which engines read anew for each video that a query leaves out; but where few hands
        are admitted, the search goes far. Raises NotThereError for an unknown hand.
        """
        ids = _as_hand_ids(hand_ids)
        vectors, videos = self.find(ids)
        self._check_known(ids, ~np.isnan(vectors[:, 0]))
        admits = _admits(ids, duplicates, among)
        if other_video:
            return self._search_near(vectors, k, videos, None, options, admits)
        return self._search_near(vectors, k, None, ids, options, admits)

    def recommend(
        self,
        positives: ArrayLike,
        negatives: ArrayLike = (),
        k: int = 10,
        *,
        positive_vectors: NDArray[np.floating] | None = None,
        negative_vectors: NDArray[np.floating] | None = None,
        other_video: bool = False,
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> Neighbors:
        """More like these, less like those: the k hands [1, k] nearest to any of the positive hands.

        Examples that are no hands of the index come as vectors [P, D]. Those that are its hands are left out,
        and so is every hand nearer to a negative than to all positives (Qdrant's best-score recommendation).
        Distances are to the nearest positive. With ``other_video`` no hand of the positives' videos is
        returned. Raises NotThereError for an unknown hand, HandsimError without a positive and with
        diversity, which a recommendation does not support.
        """
        positive_ids, negative_ids = _as_hand_ids(positives), _as_hand_ids(negatives)
        outside = [
            self._check_vectors(np.empty((0, self.info.dimension)) if vectors is None else vectors)
            for vectors in (positive_vectors, negative_vectors)
        ]
        if not len(positive_ids) + len(outside[0]) or options.diversity:
            raise HandsimError("recommending needs at least one positive hand, and takes no diversity")
        self._check_k(k)
        examples = np.concatenate([positive_ids, negative_ids])
        vectors, videos = self.find(examples)
        self._check_known(examples, ~np.isnan(vectors[:, 0]))
        inside = np.split(vectors, [len(positive_ids)])
        near, far = (np.concatenate(pair) for pair in zip(inside, outside, strict=True))
        engine_options = replace(options, with_payload=options.with_payload or options.one_per_video)

        def search(rows: NDArray[np.intp], count: int, excluded: Sequence[Sequence[str]]) -> Neighbors:
            more = min(count + len(examples), len(self))
            batch = self._recommend(near, far, more, excluded[0], engine_options)
            found = batch.vectors.reshape(len(batch), self.info.dimension)  # also where the batch is empty
            distances = _distance_to_nearest(found, near)
            mask = distances < _distance_to_nearest(found, far)
            mask &= ~np.isin(batch.hand_ids, examples)
            batch = batch.select(mask)
            answer = (batch.hand_ids.tolist(), distances[mask].tolist())
            return Neighbors.gather([answer], len(batch), [batch.payloads]).sort_by_distance().resize(count)

        excluded = set(videos[: len(positive_ids)]) if other_video else ()
        return self._search(search, k, [tuple(excluded)], options)

    def sample(self, count: int, filter: Filter | None = None) -> NDArray[np.uint64]:
        """Different random hands [count], other ones at each call; fewer where no more meet the filter.

        Raises HandsimError for a count below 1.
        """
        if count < 1:
            raise HandsimError(f"a random sample of {count} hands was asked for; ask for at least 1")
        return self._sample(min(count, len(self)), filter)

    def scroll(
        self,
        filter: Filter | None = None,
        *,
        start: int = 0,
        batch: int = BATCH_HANDS,
        with_vectors: bool = False,
        with_payload: bool = True,
    ) -> Iterator[PointBatch]:
        """All hands that meet the filter by rising id from ``start`` on, ``batch`` at a time.

        Raises HandsimError for a batch below 1.
        """
        if batch < 1:
            raise HandsimError(f"scrolling goes by {batch} hands; go by at least 1")
        next_start: int | None = start
        while next_start is not None:
            page, next_start = self._page(next_start, batch, filter, with_vectors, with_payload)
            if len(page):
                yield page

    def batches(self) -> Iterator[PointBatch]:
        """All hands with their vectors, by rising id: a version is an `index.points.PointSource`."""
        return self.scroll(with_vectors=True)

    @property
    def origin(self) -> str:
        """What the version was built of, see `index.points.PointSource`; else what tells it from others."""
        return self.info.origin or f"{hash64(' '.join(self.info.state).encode()):016x}"

    def agreed_batches(self) -> Iterator[PointBatch]:
        """All hands with their vectors and without payloads, as most replicas hold them: for a checksum."""
        return self.scroll(with_vectors=True, with_payload=False)

    def read_checksum(self, on_page: Callable[[PointBatch], object] | None = None) -> str:
        """Read every hand; the digest of `Checksum`, of the second copy of the vectors where that differs.

        ``on_page`` gets each page of hands, without payloads.
        """
        first, second = Checksum(), Checksum()
        for page in self.agreed_batches():
            first.add(page)
            if on_page is not None:
                on_page(page)
            if self.keeps_vectors_twice:
                second.add(PointBatch(page.hand_ids, self.find_vectors(page.hand_ids), []))
        is_alike = not self.keeps_vectors_twice or second.digest == self.info.checksum
        return first.digest if is_alike else second.digest

    def vectors(self, hand_ids: ArrayLike) -> NDArray[np.float32]:
        """Vectors [M, D] of hands [M]; raises NotThereError for an unknown one."""
        ids = _as_hand_ids(hand_ids)
        vectors, _ = self.find(ids)
        self._check_known(ids, ~np.isnan(vectors[:, 0]))
        return vectors

    def find_vectors(self, hand_ids: ArrayLike) -> NDArray[np.float32]:
        """As `vectors`, with NaN for a hand that the version does not hold."""
        return self.find(_as_hand_ids(hand_ids))[0]

    def find(self, hand_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float32], list[str]]:
        """Vectors [M, D] and videos of hands [M]; NaN and "" for one that the version does not hold."""
        known = self._look_up(hand_ids)
        vectors = np.full((len(hand_ids), self.info.dimension), np.nan, dtype=np.float32)
        videos = [""] * len(hand_ids)
        for row, hand_id in enumerate(hand_ids.tolist()):
            if hand_id in known:
                vectors[row], videos[row] = known[hand_id][0], known[hand_id][1]["video"]
        return vectors, videos

    def payloads(self, hand_ids: ArrayLike) -> list[Payload]:
        """Payloads of hands [M]; raises NotThereError for an unknown one."""
        ids = _as_hand_ids(hand_ids)
        known = self._look_up(ids)
        self._check_known(ids, np.array([hand_id in known for hand_id in ids.tolist()], dtype=np.bool_))
        return [known[hand_id][1] for hand_id in ids.tolist()]

    @abstractmethod
    def indexed_points(self) -> int:
        """How many hands are in the graph; a search compares the others one by one."""

    @abstractmethod
    def close(self) -> None:
        """Release files, connections and memory; the version answers no more queries."""

    @abstractmethod
    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
        not_hands: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        """The k nearest hands of valid vectors [Q, D], for each query outside ``not_videos`` and without the
        hand in ``not_hands`` [Q].

        It applies filter, max_distance, diversity, exact, ef and with_payload; `search` does the rest.
        """

    @abstractmethod
    def _recommend(
        self,
        positives: NDArray[np.float32],
        negatives: NDArray[np.float32],
        k: int,
        not_videos: Sequence[str],
        options: SearchOptions,
    ) -> PointBatch:
        """The k best by best-score recommendation, with vectors; applies filter, exact, ef, with_payload."""

    @abstractmethod
    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        """Vector and payload by id, of those of the hands [M] that the version holds."""

    @abstractmethod
    def _sample(self, count: int, filter: Filter | None) -> NDArray[np.uint64]:
        """At most that many random hands."""

    @abstractmethod
    def _page(
        self, start: int, limit: int, filter: Filter | None, with_vectors: bool, with_payload: bool
    ) -> tuple[PointBatch, int | None]:
        """At most ``limit`` hands by rising id from ``start`` on, and where the next page starts."""

    def __enter__(self) -> "IndexVersion":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _search(
        self,
        search: SearchFn,
        k: int,
        excluded: Sequence[Sequence[str]],
        options: SearchOptions,
        admits: Admits | None = None,
    ) -> Neighbors:
        """What all searches share: the band of distances, one hand per video, order, k places."""
        if options.min_distance or admits is not None:

            def admits_all(rows: NDArray[np.intp], found: Neighbors) -> NDArray[np.bool_]:
                beyond = found.distances >= options.min_distance
                return beyond if admits is None else beyond & admits(rows, found)

            search = search_admitted(search, admits_all, len(self))
        if options.one_per_video:
            neighbors = search_one_per_video(search, k, excluded)
        else:
            neighbors = search(np.arange(len(excluded)), k, excluded)
        if options.max_distance is not None:
            # Engines cut there too, but each rounds the bound in its own way.
            neighbors = neighbors.keep(neighbors.distances <= options.max_distance)
        if options.diversity:
            neighbors = neighbors.sort_by_distance()
        return neighbors.resize(k, keep_payloads=options.with_payload)

    def _check_known(self, hand_ids: NDArray[np.uint64], is_known: NDArray[np.bool_]) -> None:
        """Raise NotThereError for the first of hands [M] that the version does not hold."""
        unknown = hand_ids[~is_known]
        if len(unknown):
            raise NotThereError(
                f"no hand {format_hand_id(int(unknown[0]))} in index version {self.info.name} "
                f"({pluralize(len(self), 'hand')}); if it was ingested since, `handsim index add` makes it "
                f"searchable"
            )

    def _check_vectors(self, vectors: ArrayLike) -> NDArray[np.float32]:
        array = np.asarray(vectors, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != self.info.dimension:
            raise HandsimError(
                f"query vectors have shape {list(array.shape)}; this index takes [Q, {self.info.dimension}]"
            )
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise HandsimError(f"query vector {row} holds NaN or infinity; leave that query out")
        return array

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= len(self):
            raise HandsimError(
                f"k is {k}; this index of {pluralize(len(self), 'hand')} answers 1 to {len(self):,}"
            )


def search_one_per_video(search: SearchFn, k: int, not_videos: Sequence[Sequence[str]]) -> Neighbors:
    """At most one hand of each video, k for each query, nearest first, with payloads.

    The next frames of a video are nearly the same pose, so no fixed surplus is sure to reach k videos. The
    search goes in rounds instead: each round leaves out the videos of the rounds before it, and so returns
    the hands that come after them. Each round adds at least one video.
    """
    excluded = [list(videos) for videos in not_videos]
    hits: list[list[tuple[int, float, Payload]]] = [[] for _ in not_videos]
    pending = np.arange(len(not_videos))
    while len(pending):
        answers = search(pending, k * _HANDS_PER_VIDEO, [excluded[row] for row in pending])
        unfinished = []
        for place, row in enumerate(pending.tolist()):
            neighbors = answers[place]
            for neighbor in neighbors:
                assert neighbor.payload is not None
                video = neighbor.payload["video"]
                if len(hits[row]) < k and video not in excluded[row]:
                    excluded[row].append(video)
                    hits[row].append((neighbor.hand_id, neighbor.distance, neighbor.payload))
            if neighbors and len(hits[row]) < k:
                unfinished.append(row)
        pending = np.array(unfinished, dtype=np.intp)
    # An approximate search may find in a later round what an earlier one missed.
    for row_hits in hits:
        row_hits.sort(key=lambda hit: hit[1])
    ragged = [([hit[0] for hit in row_hits], [hit[1] for hit in row_hits]) for row_hits in hits]
    return Neighbors.gather(ragged, k, [[hit[2] for hit in row_hits] for row_hits in hits])


def search_admitted(search: SearchFn, admits: Admits, total: int) -> SearchFn:
    """A search that returns only hands that ``admits`` lets through, of ``total`` hands in all.

    It fetches the nearest hands, drops the others, and fetches four times as many for the queries that have
    too few left.
    """

    def search_on(rows: NDArray[np.intp], count: int, excluded: Sequence[Sequence[str]]) -> Neighbors:
        answers: list[tuple[list[int], list[float]]] = [([], [])] * len(rows)
        payloads: list[list[Payload]] | None = None
        pending = np.arange(len(rows))
        fetch = count
        while len(pending):
            fetch = min(fetch * _GROWTH, total)
            fetched = search(rows[pending], fetch, [excluded[row] for row in pending.tolist()])
            admitted = fetched.keep(admits(rows[pending], fetched)).resize(count)
            for place, row in enumerate(pending.tolist()):
                hits = admitted.is_found[place]
                answers[row] = (
                    admitted.hand_ids[place, hits].tolist(),
                    admitted.distances[place, hits].tolist(),
                )
                if admitted.payloads is not None:
                    payloads = payloads or [[] for _ in rows]
                    payloads[row] = admitted.payloads[place]
            # More hands can lie behind only where the search filled every place.
            is_short = fetched.is_found.all(axis=1) & ~admitted.is_found.all(axis=1)
            pending = pending[is_short] if fetch < total else pending[:0]
        return Neighbors.gather(answers, count, payloads)

    return search_on


def _as_hand_ids(hand_ids: ArrayLike) -> NDArray[np.uint64]:
    return np.atleast_1d(np.asarray(hand_ids, dtype=np.uint64))


def _admits(
    hand_ids: NDArray[np.uint64], duplicates: DuplicateGroups | None, among: NDArray[np.uint64] | None
) -> Admits | None:
    """Leaves out what is in the group of the query's own hand, of hands [Q], and what is not ``among``."""
    if duplicates is None and among is None:
        return None
    groups = None if duplicates is None else duplicates.group_of(hand_ids)[:, None]

    def admits(rows: NDArray[np.intp], found: Neighbors) -> NDArray[np.bool_]:
        admitted = found.is_found
        if duplicates is not None and groups is not None:
            admitted &= (groups[rows] < 0) | (duplicates.group_of(found.hand_ids) != groups[rows])
        if among is not None:
            admitted &= _is_among(found.hand_ids, among)
        return admitted

    return admits


def _is_among(hand_ids: NDArray[np.uint64], rising: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of hands [...] are among hands [M]."""
    if not len(rising):
        return np.zeros(hand_ids.shape, dtype=np.bool_)
    places = np.minimum(np.searchsorted(rising, hand_ids), len(rising) - 1)
    return np.asarray(rising[places] == hand_ids)


def _distance_to_nearest(vectors: NDArray[np.float32], examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n] Euclidean distances of vectors [n, D] to the nearest of examples [E, D]; infinite without any."""
    apart = vectors[:, None].astype(np.float64) - examples
    nearest: NDArray[np.float64] = np.sqrt((apart**2).sum(axis=2)).min(axis=1, initial=np.inf)
    return nearest.astype(np.float32)

"""One version of an index: what every engine offers, with what is alike in all of them.

Questions that no single query answers: one hand of each video, hands beyond a distance.

Both ask the engine again, for more, until each query has what it wants or nothing more is there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.embedding import Embedding
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from index.info import VersionInfo
from index.points import BATCH_HANDS, PointBatch
from index.query import DEFAULT_OPTIONS, Filter, Neighbors, Payload, SearchOptions

Ask = Callable[[NDArray[np.intp], int, Sequence[Sequence[str]]], Neighbors]
"""(rows of queries [R], count, videos to leave out for each) -> nearest hands [R, count]."""

_HANDS_PER_VIDEO = 4
_GROWTH = 4


def nearest_per_video(ask: Ask, k: int, not_videos: Sequence[Sequence[str]]) -> Neighbors:
    """At most one hand of each video, k for each query, nearest first.

    The next frames of a video are nearly the same pose, so no fixed surplus is sure to reach k videos.
    It goes by rounds instead: whatever videos a round brought are left out of the next one, which
    therefore brings the hands that come after them. Each round adds at least one video. The hands
    come with their payloads.
    """
    excluded = [list(videos) for videos in not_videos]
    found: list[list[tuple[int, float, Payload]]] = [[] for _ in not_videos]
    pending = np.arange(len(not_videos))
    count = k * _HANDS_PER_VIDEO
    while len(pending):
        answers = ask(pending, count, [excluded[row] for row in pending])
        unfinished = []
        for place, row in enumerate(pending.tolist()):
            hits = answers[place]
            for hit in hits:
                assert hit.payload is not None
                if len(found[row]) < k and hit.payload["video"] not in excluded[row]:
                    excluded[row].append(hit.payload["video"])
                    found[row].append((hit.hand_id, hit.distance, hit.payload))
            if hits and len(found[row]) < k:
                unfinished.append(row)
        pending = np.array(unfinished, dtype=np.intp)
    # An approximate search may find in a later round what an earlier one passed over.
    for hands in found:
        hands.sort(key=lambda hand: hand[1])
    ragged = [([hand[0] for hand in hands], [hand[1] for hand in hands]) for hands in found]
    return Neighbors.gather(ragged, k, [[hand[2] for hand in hands] for hands in found])


def beyond(ask: Ask, near: float, most: int) -> Ask:
    """The same question, answered with hands at ``near`` or further; of ``most`` hands in all.

    Qdrant bounds a distance from above only. So the nearest are fetched, those too near thrown away, and
    four times as many fetched for the queries that have too few left.
    """

    def ask_beyond(rows: NDArray[np.intp], count: int, excluded: Sequence[Sequence[str]]) -> Neighbors:
        answers: list[tuple[list[int], list[float]]] = [([], [])] * len(rows)
        payloads: list[list[Payload]] | None = None
        pending = np.arange(len(rows))
        fetch = count
        while len(pending):
            fetch = min(fetch * _GROWTH, most)
            found = ask(rows[pending], fetch, [excluded[row] for row in pending.tolist()])
            kept = found.keep(found.distances >= near).resized(count)
            for place, row in enumerate(pending.tolist()):
                has = kept.found[place]
                answers[row] = (kept.hand_ids[place, has].tolist(), kept.distances[place, has].tolist())
                if kept.payloads is not None:
                    payloads = payloads or [[] for _ in rows]
                    payloads[row] = kept.payloads[place]
            # Only where every place was filled may more lie behind.
            more = found.found.all(axis=1) & ~kept.found.all(axis=1)
            pending = pending[more] if fetch < most else pending[:0]
        return Neighbors.gather(answers, count, payloads)

    return ask_beyond


class IndexVersion(ABC):
    """An immutable set of hands, and the embedding that placed them.

    An engine supplies the methods with an underscore; what is asked of them means the same everywhere.
    Several threads may ask it at once; across a fork it cannot be shared: open one in each process.
    """

    info: VersionInfo
    """What is known of it."""
    embedding: Embedding
    """The embedding it was built with, and the only one it is ever queried with."""
    address: str | None = None
    """What `index.open_catalog` takes to open it in another process; None where none can."""

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

        ``not_videos`` [Q] names for each query a video whose hands are not answered, ``not_hands`` [Q] one
        hand that is not. Raises HandsimError for k outside 1..len(self), vectors or lists that do not fit.
        """
        vectors = self._check_vectors(vectors)
        self._check_k(k)
        videos = [None] * len(vectors) if not_videos is None else not_videos
        hands = None if not_hands is None else np.asarray(not_hands, dtype=np.uint64)
        for name, given in (("not_videos", videos), ("not_hands", hands)):
            if given is not None and len(given) != len(vectors):
                raise HandsimError(
                    f"{name} has {len(given)} entries for {len(vectors)} queries; give one each"
                )
        asked = replace(options, with_payload=True) if options.one_per_video else options

        def ask(rows: NDArray[np.intp], count: int, excluded: Sequence[Sequence[str]]) -> Neighbors:
            if hands is None or options.diversity:
                # Diversity must not see the query's own hand: what is chosen would have to be unlike it.
                own = None if hands is None else hands[rows]
                return self._nearest(vectors[rows], min(count, len(self)), excluded, asked, own)
            # Asking for one more and leaving the query's own hand out is cheaper than a condition on its id.
            more = self._nearest(vectors[rows], min(count + 1, len(self)), excluded, asked)
            return more.keep(more.hand_ids != hands[rows, None]).resized(count)

        excluded = [() if video is None else (video,) for video in videos]
        return self._answer(ask, k, excluded, options)

    def search_keypoints(
        self,
        keypoints: NDArray[np.floating],
        k: int = 10,
        *,
        not_videos: Sequence[str | None] | None = None,
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> Neighbors:
        """As `search`, for keypoints [Q, 21, 2 or 3] in the crop's unit square, told as right hands.

        Raises HandsimError where the version embeds pictures: `embedding.embed` takes those.
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
    ) -> Neighbors:
        """As `search`, for hands [Q] of the index; a hand is never its own neighbour.

        With ``other_video`` neither is any hand of its video. Raises NotThereError for an unknown hand.
        """
        ids = _as_hand_ids(hand_ids)
        vectors, payloads = self._look_up_all(ids)
        if other_video:
            videos = [payload["video"] for payload in payloads]
            return self.search(vectors, k, not_videos=videos, options=options)
        return self.search(vectors, k, not_hands=ids, options=options)

    def recommend(
        self,
        positives: ArrayLike,
        negatives: ArrayLike = (),
        k: int = 10,
        *,
        other_video: bool = False,
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> Neighbors:
        """More like these, less like those: the k hands [1, k] nearest to any of the positive hands.

        Left out are the examples themselves and every hand nearer to a negative than to all positives
        (Qdrant's best-score recommendation). Distances are to the nearest positive. With ``other_video``
        no hand of the positives' videos is answered. Raises NotThereError for an unknown hand,
        HandsimError without a positive or with diversity, which this question has none of.
        """
        liked, disliked = _as_hand_ids(positives), _as_hand_ids(negatives)
        if not len(liked) or options.diversity:
            raise HandsimError("recommending needs at least one positive hand, and takes no diversity")
        self._check_k(k)
        (near, payloads), (far, _) = self._look_up_all(liked), self._look_up_all(disliked)
        examples = np.concatenate([liked, disliked])
        asked = replace(options, with_payload=True) if options.one_per_video else options

        def ask(rows: NDArray[np.intp], count: int, excluded: Sequence[Sequence[str]]) -> Neighbors:
            more = min(count + len(examples), len(self))
            found = self._recommend(near, far, more, excluded[0], asked)
            vectors = found.vectors.reshape(len(found), self.info.dimension)  # also where none was found
            distances = _distance_to_nearest(vectors, near)
            chosen = distances < _distance_to_nearest(vectors, far)
            chosen &= ~np.isin(found.hand_ids, examples)
            found = found.take(chosen)
            answer = (found.hand_ids.tolist(), distances[chosen].tolist())
            gathered = Neighbors.gather([answer], len(found), [found.payloads])
            return gathered.by_distance().resized(count)

        videos = {payload["video"] for payload in payloads} if other_video else ()
        return self._answer(ask, k, [tuple(videos)], options)

    def sample(self, count: int, filter: Filter | None = None) -> NDArray[np.uint64]:
        """Different hands [count] drawn at random, anew each time; fewer where no more meet the filter.

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
        following: int | None = start
        while following is not None:
            page, following = self._page(following, batch, filter, with_vectors, with_payload)
            if len(page):
                yield page

    def vectors(self, hand_ids: ArrayLike) -> NDArray[np.float32]:
        """Vectors [M, D] of hands [M]; raises NotThereError for an unknown one."""
        return self._look_up_all(_as_hand_ids(hand_ids))[0]

    def payloads(self, hand_ids: ArrayLike) -> list[Payload]:
        """What is known of hands [M]; raises NotThereError for an unknown one."""
        return self._look_up_all(_as_hand_ids(hand_ids))[1]

    @abstractmethod
    def indexed_points(self) -> int:
        """How many hands are linked into the graph; the others are compared one by one."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files, connections and memory; the version cannot be asked any more."""

    @abstractmethod
    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
        not_hands: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        """The k nearest hands of checked vectors [Q, D], for each query outside some videos and, where
        ``not_hands`` [Q] are given, without that hand.

        It heeds filter, max_distance, diversity, exact, ef and with_payload; the rest is done above it.
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
        """The k best by best-score recommendation, with vectors; heeds filter, exact, ef, with_payload."""

    @abstractmethod
    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        """Vector and payload of those of the hands [M] that it holds."""

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(
        self, ask: Ask, k: int, excluded: Sequence[Sequence[str]], options: SearchOptions
    ) -> Neighbors:
        """What is alike in all questions: the band of distances, one hand a video, order, k places."""
        if options.min_distance:
            ask = beyond(ask, options.min_distance, len(self))
        if options.one_per_video:
            answer = nearest_per_video(ask, k, excluded)
        else:
            answer = ask(np.arange(len(excluded)), k, excluded)
        if options.max_distance is not None:
            # Engines cut there too, but each rounds the bound in its own way.
            answer = answer.keep(answer.distances <= options.max_distance)
        if options.diversity:
            answer = answer.by_distance()
        return answer.resized(k, keep_payloads=options.with_payload)

    def _look_up_all(self, hand_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float32], list[Payload]]:
        known = self._look_up(hand_ids)
        try:
            found = [known[hand_id] for hand_id in hand_ids.tolist()]
        except KeyError as error:
            unknown = format_hand_id(error.args[0])
            raise NotThereError(
                f"no hand {unknown} in index version {self.info.name} ({len(self):,} hands); "
                f"if it was ingested since, `handsim index add` makes it searchable"
            ) from error
        vectors = np.array([vector for vector, _ in found], dtype=np.float32)
        return vectors.reshape(len(found), self.info.dimension), [payload for _, payload in found]

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
            raise HandsimError(f"k is {k}; this index of {len(self):,} hands answers 1 to {len(self):,}")


def _as_hand_ids(hand_ids: ArrayLike) -> NDArray[np.uint64]:
    return np.atleast_1d(np.asarray(hand_ids, dtype=np.uint64))


def _distance_to_nearest(vectors: NDArray[np.float32], examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n] Euclidean distances of vectors [n, D] to the nearest of examples [E, D]; infinite without any."""
    apart = vectors[:, None].astype(np.float64) - examples
    nearest: NDArray[np.float64] = np.sqrt((apart**2).sum(axis=2)).min(axis=1, initial=np.inf)
    return nearest.astype(np.float32)

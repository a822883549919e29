"""One version of an index: what every engine offers, with what is alike in all of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.embedding import PoseEmbedding
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from index.filter import Filter
from index.neighbors import Neighbors, Payload
from index.per_video import nearest_per_video


@dataclass(frozen=True)
class VersionInfo:
    """What is known of a version without opening it."""

    name: str
    """``v0001``, ``v0002``, ... in the order they were built."""
    points: int
    """How many hands it holds."""
    dimension: int
    """Length of a vector."""
    embedding_kind: str
    """``pose``: made from keypoints."""
    embedding_fingerprint: str
    """16 hex digits; two versions with the same one have comparable distances."""
    built_at: str
    """ISO 8601, UTC."""
    build_seconds: float
    """How long building it took."""
    bytes_on_disk: int
    """What it takes up."""
    is_current: bool
    """Whether readers that ask for no version get this one."""


@dataclass(frozen=True)
class SearchOptions:
    """What all queries of one search have in common."""

    filter: Filter | None
    exact: bool
    ef: int | None
    with_payload: bool


class IndexVersion(ABC):
    """An immutable set of hands, and the embedding that placed them.

    An engine supplies `_nearest` and `_look_up`; what is asked of them means the same everywhere.
    Not safe to share between threads or across a fork: open one in each.
    """

    info: VersionInfo
    """What is known of it."""
    embedding: PoseEmbedding
    """The embedding it was built with, and the only one it is ever queried with."""

    def __len__(self) -> int:
        return self.info.points

    def search(
        self,
        vectors: ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        not_videos: Sequence[str | None] | None = None,
        not_hands: ArrayLike | None = None,
        one_per_video: bool = False,
        exact: bool = False,
        ef: int | None = None,
        with_payload: bool = False,
    ) -> Neighbors:
        """The k nearest hands [Q, k] of each vector [Q, D].

        ``not_videos`` [Q] names for each query a video whose hands are not answered, ``not_hands`` [Q] one
        hand that is not. With ``one_per_video`` only a video's nearest hand is answered. ``exact`` compares
        all hands; otherwise ``ef`` candidates are looked at (by default as the index was built for).
        Fewer than k are answered where no more hands meet the conditions.

        Raises HandsimError for k outside 1..len(self) and for vectors or lists that do not fit.
        """
        vectors = self._check_vectors(vectors)
        self._check_k(k)
        if ef is not None and ef < 1:
            raise HandsimError(f"ef is {ef}; it counts the candidates to look at, so it is at least 1")
        videos = [None] * len(vectors) if not_videos is None else not_videos
        hands = None if not_hands is None else np.asarray(not_hands, dtype=np.uint64)
        for name, given in (("not_videos", videos), ("not_hands", hands)):
            if given is not None and len(given) != len(vectors):
                raise HandsimError(
                    f"{name} has {len(given)} entries for {len(vectors)} queries; give one each"
                )
        options = SearchOptions(filter, exact, ef, with_payload or one_per_video)

        def ask(rows: NDArray[np.intp], count: int, excluded: Sequence[Sequence[str]]) -> Neighbors:
            if hands is None:
                return self._nearest(vectors[rows], min(count, len(self)), excluded, options)
            # Asking for one more and leaving the query's own hand out is cheaper than a condition on its id.
            more = self._nearest(vectors[rows], min(count + 1, len(self)), excluded, options)
            return more.without(hands[rows], count)

        excluded = [() if video is None else (video,) for video in videos]
        if not one_per_video:
            answer = ask(np.arange(len(vectors)), k, excluded)
        else:
            answer = nearest_per_video(ask, k, excluded)
        return answer.resized(k, keep_payloads=with_payload)

    def search_keypoints(
        self,
        keypoints: NDArray[np.floating],
        k: int = 10,
        *,
        filter: Filter | None = None,
        not_videos: Sequence[str | None] | None = None,
        one_per_video: bool = False,
        exact: bool = False,
        ef: int | None = None,
        with_payload: bool = False,
    ) -> Neighbors:
        """As `search`, for keypoints [Q, 21, 2 or 3] in the crop's unit square, told as right hands."""
        return self.search(
            self.embedding.transform(np.asarray(keypoints)),
            k,
            filter=filter,
            not_videos=not_videos,
            one_per_video=one_per_video,
            exact=exact,
            ef=ef,
            with_payload=with_payload,
        )

    def search_hands(
        self,
        hand_ids: ArrayLike,
        k: int = 10,
        *,
        other_video: bool = False,
        filter: Filter | None = None,
        one_per_video: bool = False,
        exact: bool = False,
        ef: int | None = None,
        with_payload: bool = False,
    ) -> Neighbors:
        """As `search`, for hands [Q] of the index; a hand is never its own neighbour.

        With ``other_video`` neither is any hand of its video. Raises NotThereError for an unknown hand.
        """
        ids = _as_hand_ids(hand_ids)
        vectors, payloads = self._look_up_all(ids)
        return self.search(
            vectors,
            k,
            filter=filter,
            not_videos=[payload["video"] for payload in payloads] if other_video else None,
            not_hands=None if other_video else ids,
            one_per_video=one_per_video,
            exact=exact,
            ef=ef,
            with_payload=with_payload,
        )

    def vectors(self, hand_ids: ArrayLike) -> NDArray[np.float32]:
        """Vectors [M, D] of hands [M]; raises NotThereError for an unknown one."""
        return self._look_up_all(_as_hand_ids(hand_ids))[0]

    def payloads(self, hand_ids: ArrayLike) -> list[Payload]:
        """What is known of hands [M]; raises NotThereError for an unknown one."""
        return self._look_up_all(_as_hand_ids(hand_ids))[1]

    @abstractmethod
    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
    ) -> Neighbors:
        """The k nearest hands of checked vectors [Q, D], for each query outside some videos."""

    @abstractmethod
    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        """Vector and payload of those of the hands [M] that it holds."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and memory; the version cannot be asked any more."""

    def __enter__(self) -> "IndexVersion":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look_up_all(self, hand_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float32], list[Payload]]:
        known = self._look_up(hand_ids)
        try:
            found = [known[hand_id] for hand_id in hand_ids.tolist()]
        except KeyError as error:
            unknown = format_hand_id(error.args[0])
            raise NotThereError(
                f"no hand {unknown} in index version {self.info.name} ({len(self):,} hands); "
                f"if it was ingested since, `handsim index build` again"
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

"""Questions that no single query answers: one hand of each video, hands beyond a distance.

Both ask the engine again, for more, until each query has what it wants or nothing more is there.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from index.neighbors import Neighbors, Payload

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

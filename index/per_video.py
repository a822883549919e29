"""The nearest hand of each of the k nearest videos."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from index.neighbors import Neighbors, Payload

Ask = Callable[[NDArray[np.intp], int, Sequence[Sequence[str]]], Neighbors]
"""(rows of queries [R], count, videos to leave out for each) -> nearest hands [R, count], with payloads."""

_HANDS_PER_VIDEO = 4


def nearest_per_video(ask: Ask, k: int, not_videos: Sequence[Sequence[str]]) -> Neighbors:
    """At most one hand of each video, k for each query, nearest first.

    The next frames of a video are nearly the same pose, so no fixed surplus is sure to reach k videos.
    It goes by rounds instead: whatever videos a round brought are left out of the next one, which
    therefore brings the hands that come after them. Each round adds at least one video.
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

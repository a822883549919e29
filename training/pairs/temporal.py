"""The same hand a moment before or after: the positives of TempCLR (Ziani et al., 3DV 2022)."""

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from index.columns import HandColumns
from training.pairs.drawn import DrawnPairs
from training.pairs.hand_set import HandSet


class TemporalNeighbors:
    """A `PairSource` that needs no index: same video, same side, a few frames apart.

    A frame's other hand is never a positive, be it the other side's or another person's.
    """

    def __init__(self, hands: HandColumns, window_frames: int, pictured: HandSet) -> None:
        """Positives are at most ``window_frames`` frames away, and ``pictured``.

        Raises HandsimError for a window below 1, and for frames too far apart to be frames of a video.
        """
        if window_frames < 1:
            raise HandsimError(f"window_frames is {window_frames}; it is at least 1")
        rows = np.flatnonzero(pictured.holds(hands.hand_ids))
        frames = hands.frames[rows]
        first, last = (int(frames.min()), int(frames.max())) if len(rows) else (0, 0)
        self._window = min(window_frames, last - first)
        # One number tells video, side and frame, in this order: a window about it is a range of numbers.
        span = last - first + self._window + 1
        if span * (2 * len(hands.videos.names) + 1) >= 2**63:
            raise HandsimError(
                f"frames go from {first} to {last}; temporal positives need numbers of frames, not times"
            )
        groups = 2 * hands.videos.codes[rows].astype(np.int64) + hands.is_left[rows]
        places = groups * span + (frames - first)
        order = np.argsort(places, kind="stable")
        self._hand_ids, self._places = hands.hand_ids[rows][order], places[order]
        by_id = np.argsort(self._hand_ids)
        self._sorted_ids, self._place_of_sorted = self._hand_ids[by_id], self._places[by_id]
        self._pictured = pictured

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> DrawnPairs:
        """A positive for each anchor [B], drawn evenly from its window. Distances are not known."""
        assert self._pictured.holds(anchors).all(), "anchors are hands of the pool, with a picture"
        here = self._place_of_sorted[np.searchsorted(self._sorted_ids, anchors)]
        begin = np.searchsorted(self._places, here - self._window, "left")
        own = np.searchsorted(self._places, here, "left")
        after_own = np.searchsorted(self._places, here, "right")
        end = np.searchsorted(self._places, here + self._window, "right")
        before = own - begin
        count = before + (end - after_own)
        drawn = rng.integers(np.maximum(count, 1))
        chosen = np.where(drawn < before, begin + drawn, after_own + drawn - before)
        alone = count == 0
        chosen[alone] = 0
        return DrawnPairs(
            anchors=anchors,
            positives=np.where(alone, anchors, self._hand_ids[chosen]),
            distances=np.full(len(anchors), np.nan, dtype=np.float32),
            negatives=np.empty((len(anchors), 0), dtype=np.uint64),
            without_positive=int(alone.sum()),
        )

    def close(self) -> None:
        """Nothing to let go of."""

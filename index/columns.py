"""What an index is built from."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.pool import Categorical
from index.neighbors import Payload


class HandColumns(Protocol):
    """The columns of N hands that an index is built from; a `handsim.pool.Pool` is one."""

    @property
    def hand_ids(self) -> NDArray[np.uint64]:
        """[N], unique."""

    @property
    def keypoints(self) -> NDArray[np.float32]:
        """[N, 21, 3] in the crop's unit square."""

    @property
    def videos(self) -> Categorical:
        """[N]."""

    @property
    def sources(self) -> Categorical:
        """[N]."""

    @property
    def labels(self) -> Categorical:
        """[N]."""

    @property
    def is_left(self) -> NDArray[np.bool_]:
        """[N]."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """[N]."""

    @property
    def frames(self) -> NDArray[np.int64]:
        """[N]."""

    def __len__(self) -> int: ...


def payloads_of(hands: HandColumns, rows: NDArray[np.integer] | slice) -> list[Payload]:
    """What an index keeps of the hands at ``rows`` besides their vectors."""
    return [
        Payload(
            video=video or "",
            source=source or "",
            side="left" if is_left else "right",
            label=label,
            score=score,
            frame=frame,
        )
        for video, source, is_left, label, score, frame in zip(
            hands.videos.values(rows),
            hands.sources.values(rows),
            hands.is_left[rows].tolist(),
            hands.labels.values(rows),
            hands.scores[rows].tolist(),
            hands.frames[rows].tolist(),
            strict=True,
        )
    ]

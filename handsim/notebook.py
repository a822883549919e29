"""Hands in a notebook: `show` draws them as a grid."""

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.hand import MAX_HAND_ID, parse_hand_id
from handsim.pool import Pool

if TYPE_CHECKING:
    from PIL.Image import Image

    from handsim.drawing import Tile

_FIRST_HANDS: Final = 24
"""What is shown of a whole pool."""
_MOST_HANDS: Final = 400
"""A picture of more takes seconds, and nobody looks at it."""


@runtime_checkable
class Answer(Protocol):
    """The answer of a search, such as `index.Neighbors`."""

    @property
    def hand_ids(self) -> NDArray[np.uint64]:
        """[Q, K], nearest first."""

    @property
    def distances(self) -> NDArray[np.float32]:
        """[Q, K]."""


def show(
    hands: Pool | Answer | ArrayLike, pool: Pool | None = None, *, columns: int = 8, skeletons: bool = True
) -> "Image":
    """A grid of hands with their skeletons, as a picture, which a notebook displays.

    ``hands`` is a pool, whose first ones are shown, or what ``pool`` holds: the answer of a search or ids
    [Q, K], a row for each query, or ids [N], ``columns`` in a row. Ids are numbers or 16 hex digits. Below a
    hand are its distance, its video and its label, as far as it has them; of a hand without a picture the
    skeleton is drawn alone. Raises HandsimError for no hands and for more than 400, NotThereError for a hand
    that the pool does not hold.
    """
    from handsim.drawing import draw_grid

    if isinstance(hands, Pool):
        pool, hands = hands, hands.hand_ids[:_FIRST_HANDS]
    if pool is None:
        raise HandsimError("show needs the pool that holds these hands: handsim.show(hands, pool)")
    ids = _read_ids(hands.hand_ids if isinstance(hands, Answer) else hands)
    if not 0 < ids.size <= _MOST_HANDS:
        raise HandsimError(
            f"there are {ids.size:,} hands to show; give 1 to {_MOST_HANDS}, as in hands[:{_MOST_HANDS}]"
        )
    distances = hands.distances.ravel().tolist() if isinstance(hands, Answer) else [None] * ids.size
    tiles = [
        None if hand_id > MAX_HAND_ID else _make_tile(pool, hand_id, distance, skeletons)
        for hand_id, distance in zip(ids.ravel().tolist(), distances, strict=True)
    ]
    width = ids.shape[1] if ids.ndim == 2 else columns
    return draw_grid([tiles[start : start + width] for start in range(0, len(tiles), width)])


def _read_ids(hands: ArrayLike) -> NDArray[np.uint64]:
    ids = np.asarray(hands)
    if ids.dtype.kind in "OTU":
        ids = np.array([parse_hand_id(str(text)) for text in ids.ravel()], dtype=np.uint64).reshape(ids.shape)
    if ids.size and (ids.dtype.kind not in "iu" or ids.ndim not in (1, 2)):
        raise HandsimError(
            f"ids have shape {list(ids.shape)} and type {ids.dtype}; "
            "expected [N] or [Q, K] whole numbers or 16 hex digits"
        )
    return ids.astype(np.uint64)


def _make_tile(pool: Pool, hand_id: int, distance: float | None, skeletons: bool) -> "Tile":
    from handsim.drawing import Tile

    row = int(pool.rows(hand_id)[0])
    has_crop = pool.has_crop(hand_id)
    lines = (None if distance is None else f"{distance:.3f}", pool.videos[row], pool.labels[row])
    return Tile(
        pool.crop(hand_id) if has_crop else None,
        pool.keypoints[row] if skeletons or not has_crop else None,
        tuple(line for line in lines if line),
    )

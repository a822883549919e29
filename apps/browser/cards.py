"""Hands of the index as cards of a grid."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from apps.browser.components.hand_grid import Card
from apps.browser.library import Library
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index.neighbors import Payload


def hand_card(
    library: Library,
    pool: Pool,
    hand_id: int,
    title: str = "",
    lines: Iterable[str] = (),
    *,
    liked: bool | None = None,
) -> Card:
    """A hand with its picture and its skeleton, as far as the pool has them."""
    keypoints = keypoints_of(pool, hand_id)
    picture = None if keypoints is None else library.thumbnails.uri(pool, hand_id)
    return Card(hand_id, picture, keypoints, title, tuple(lines), liked)


def keypoints_of(pool: Pool, hand_id: int) -> NDArray[np.float32] | None:
    """[21, 3]; None for a hand that the index holds and the pool does not."""
    if hand_id not in pool:
        return None
    found: NDArray[np.float32] = pool.keypoints[pool.rows(hand_id)[0]]
    return found


def told_of(payload: Payload | None) -> tuple[str, ...]:
    """Video, then side, source and label: lines below a picture."""
    if payload is None:
        return ()
    parts = (payload["side"], payload["source"], payload["label"])
    return payload["video"], " · ".join(part for part in parts if part)


def short_id(hand_id: int) -> str:
    """The id's first digits, for captions."""
    return format_hand_id(hand_id)[:8] + "…"

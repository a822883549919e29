"""What is asked about, as pictures: beside the answers, on the way back, in a montage."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apps.browser import session
from apps.browser.cards import hand_card, short_id, told_of
from apps.browser.components.hand_grid import Card
from apps.browser.library import Library
from apps.browser.search.question import Question
from apps.browser.thumbnails import picture_uri
from apps.queries import Query, example_query, hand_query
from handsim.errors import NotThereError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index import IndexVersion

_NO_HAND = 0
"""The id of a card that shows no hand of the index; nothing happens to it."""


def query_cards(library: Library, pool: Pool, version: IndexVersion, question: Question) -> list[Card]:
    """One card for a hand or a pose, one for each example."""
    if question.pose is not None:
        return [_pose_card(question)]
    if question.hand is not None:
        return [_hand(library, pool, version, question.hand, "Query", None)]
    examples = [(hand, True) for hand in question.like] + [(hand, False) for hand in question.unlike]
    return [
        _hand(library, pool, version, hand, "Like" if liked else "Unlike", liked) for hand, liked in examples
    ]


def trail_cards(library: Library, pool: Pool, trail: Sequence[Question]) -> list[Card]:
    """A small card for each question; its id is its number in the trail."""
    return [_step(library, pool, number, question) for number, question in enumerate(trail)]


def query_picture(
    library: Library, pool: Pool, question: Question, answered_by: str, crop: NDArray[np.uint8] | None
) -> Query:
    """The query as a montage shows it, asked of one index version; ``crop`` is the picture of a pose.

    Knows no session: a montage is made once it is asked for, which is outside of one. Raises NotThereError
    for a version that is gone.
    """
    if question.pose is not None:
        return Query({}, ("pose",), question.keypoints(), crop)
    with library.catalog.open(answered_by) as version:
        if question.hand is not None:
            return hand_query(question.hand, version, pool)
        return example_query(question.like, question.unlike, version, pool)


def _hand(
    library: Library, pool: Pool, version: IndexVersion, hand: int, title: str, liked: bool | None
) -> Card:
    try:
        lines = told_of(version.payloads([hand])[0])
    except NotThereError:
        lines = ("not in this index",)
    return hand_card(library, pool, hand, title, (format_hand_id(hand), *lines), liked=liked)


def _pose_card(question: Question) -> Card:
    seen = session.seen_hand(question.pose)
    if seen is None:
        return Card(_NO_HAND, None, question.keypoints(), "Query", ("a drawn pose",))
    line = f"from your picture · {seen.side}"
    return Card(_NO_HAND, picture_uri(seen.crop), question.keypoints(), "Query", (line,))


def _step(library: Library, pool: Pool, number: int, question: Question) -> Card:
    if question.pose is not None:
        shown = _pose_card(question)
        return Card(number, shown.picture, shown.keypoints, "", ("pose",))
    hand = question.hand if question.hand is not None else question.like[0]
    shown = hand_card(library, pool, hand)
    line = (
        short_id(hand)
        if question.hand is not None
        else f"{len(question.like)} like, {len(question.unlike)} unlike"
    )
    return Card(number, shown.picture, shown.keypoints, "", (line,))

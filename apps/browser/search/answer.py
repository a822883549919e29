"""Questions answered, and why an answer is empty.

What is asked about, as pictures: beside the answers, on the way back, in a montage.

Answers to take away: a table, and a montage.

Poses to begin with where a hand is drawn: a right hand, seen from its palm.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser import session
from apps.browser.components.hand_grid import Card
from apps.browser.library import Library, encode_thumbnail
from apps.browser.search.question import Condition, Question, quantise_keypoints
from apps.browser.ui import build_card, describe_payload, shorten_id
from apps.cli.query import Query, draw_montage
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index import IndexVersion, Neighbor, Neighbors

TOLD: Final[dict[Condition, str]] = {
    "other_video": "other videos only",
    "one_per_video": "one per video",
    "sources": "the source",
    "labels": "the label",
    "side": "the side",
    "max_distance": "the distance limit",
    "diversity": "diversity",
}
"""Conditions, for people."""


@dataclass(frozen=True)
class Answer:
    """What the index said to one question."""

    version: str
    """The index version that said it."""
    neighbors: tuple[Neighbor, ...]
    """Nearest first, with their payloads."""
    to_relax: tuple[Condition, ...] = ()
    """Of an empty answer: conditions that, each left out alone, would let hands in."""


def answer(version: IndexVersion, question: Question, crop: NDArray[np.uint8] | None = None) -> Answer:
    """Ask a version; ``crop`` RGB [S, S, 3] is the picture of a question's pose, where there is one.

    Raises NotThereError for a hand that the version does not hold, HandsimError for an empty question, and
    where the version embeds pictures and a pose has none.
    """
    found = tuple(_ask(version, question, crop)[0])
    tried = () if found else question.conditions
    relaxing = [each for each in tried if _ask(version, question.without(each), crop).is_found.any()]
    return Answer(version.info.name, found, tuple(relaxing))


def _ask(version: IndexVersion, question: Question, crop: NDArray[np.uint8] | None) -> Neighbors:
    k, options = min(question.k, len(version)), question.options()
    if question.hand is not None:
        return version.search_hands([question.hand], k, other_video=question.other_video, options=options)
    if question.like:
        liked, unliked = list(question.like), list(question.unlike)
        return version.recommend(liked, unliked, k, other_video=question.other_video, options=options)
    if question.pose is not None:
        crops = None if crop is None else [crop]
        vectors = version.embedding.embed(keypoints=question.keypoints()[None], crops=crops)
        return version.search(vectors, k, options=options)
    raise HandsimError("there is nothing to ask about yet; choose a hand, a picture or a pose")


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
            return Query.from_hand(question.hand, version, pool)
        return Query.from_examples(question.like, question.unlike, version, pool)


def _hand(
    library: Library, pool: Pool, version: IndexVersion, hand: int, title: str, liked: bool | None
) -> Card:
    try:
        lines = describe_payload(version.payloads([hand])[0])
    except NotThereError:
        lines = ("not in this index",)
    return build_card(library, pool, hand, title, (format_hand_id(hand), *lines), liked=liked)


def _pose_card(question: Question) -> Card:
    seen = session.find_detection(question.pose)
    if seen is None:
        return Card(_NO_HAND, None, question.keypoints(), "Query", ("a drawn pose",))
    line = f"from your picture · {seen.side}"
    return Card(_NO_HAND, encode_thumbnail(seen.crop), question.keypoints(), "Query", (line,))


def _step(library: Library, pool: Pool, number: int, question: Question) -> Card:
    if question.pose is not None:
        shown = _pose_card(question)
        return Card(number, shown.picture, shown.keypoints, "", ("pose",))
    hand = question.hand if question.hand is not None else question.like[0]
    shown = build_card(library, pool, hand)
    line = (
        shorten_id(hand)
        if question.hand is not None
        else f"{len(question.like)} like, {len(question.unlike)} unlike"
    )
    return Card(number, shown.picture, shown.keypoints, "", (line,))


_MONTAGE_COLUMNS: Final = 8
_COLUMNS: Final = ("video", "source", "side", "label", "frame", "score")


def as_csv(neighbors: Sequence[Neighbor]) -> bytes:
    """Rank, hand, distance and what is known of each, UTF-8 with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["rank", "hand_id", "distance", *_COLUMNS])
    for rank, found in enumerate(neighbors, start=1):
        known = dict(found.payload or {})
        cells = [_harmless(known.get(column)) for column in _COLUMNS]
        writer.writerow([rank, format_hand_id(found.hand_id), f"{found.distance:.6f}", *cells])
    return buffer.getvalue().encode()


def _harmless(value: object) -> object:
    """A spreadsheet takes what begins with one of these for a formula, and names come from files."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def as_png(pool: Pool, query: Query, neighbors: Sequence[Neighbor]) -> bytes:
    """The query and its answers as `handsim query --montage` draws them."""
    buffer = io.BytesIO()
    draw_montage(pool, [query], [neighbors], columns=_MONTAGE_COLUMNS).save(buffer, "PNG")
    return buffer.getvalue()


PRESETS: Final = {"Flat": "flat", "Fist": "fist", "Point": "point", "Pinch": "pinch", "OK": "ok"}
"""What people call them -> the synthetic hands' prototype."""


@cache
def make_preset(name: str) -> tuple[int, ...]:
    """The pose of a preset, as `apps.browser.search.question.Question.pose` has it: an average adult's."""
    from handsim.synthetic.camera import PALM_TO_CAMERA, squares_around
    from handsim.synthetic.hand_model import AVERAGE_SHAPE, bend
    from handsim.synthetic.motion import PROTOTYPE_ANGLES

    joints_mm = bend(AVERAGE_SHAPE, PROTOTYPE_ANGLES[PRESETS[name]][None]).joints_mm @ PALM_TO_CAMERA.T
    places = joints_mm[..., :2]  # from far away
    square = squares_around(places)[0]
    return quantise_keypoints((places[0] - square[:2]) / np.array(square[2] - square[0]))

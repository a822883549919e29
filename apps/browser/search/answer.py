"""The answer to a question: the search itself, cards of what was asked about, and files to download."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser import session
from apps.browser.components.hand_grid import Card
from apps.browser.library import Library, encode_thumbnail
from apps.browser.search.question import Condition, Question
from apps.browser.ui import build_card, describe_payload, shorten_id
from apps.cli.console import disarm_formula
from apps.cli.query import Query, draw_montage
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index import IndexVersion, Neighbor, Neighbors

_MONTAGE_COLUMNS: Final = 8
_CSV_COLUMNS: Final = ("video", "source", "side", "label", "frame", "score")
_NO_HAND: Final = 0
"""The id on a card that shows no hand of the index; such cards cannot be clicked."""


@dataclass(frozen=True)
class Answer:
    version: str
    """The name of the index version."""
    neighbors: tuple[Neighbor, ...]
    """Nearest first, with their payloads."""
    to_relax: tuple[Condition, ...] = ()
    """If there are no neighbors: the conditions of which each, left out alone, lets hands in."""


def answer_question(
    version: IndexVersion, question: Question, crop: NDArray[np.uint8] | None = None
) -> Answer:
    """Search a version; ``crop`` RGB [S, S, 3] is the picture that a pose was found in, if any.

    Raises NotThereError for a hand that the version does not hold; HandsimError for an empty question, and
    for a pose without a picture if the version embeds pictures.
    """
    neighbors = tuple(_search(version, question, crop)[0])
    candidates = () if neighbors else question.conditions
    to_relax = [each for each in candidates if _search(version, question.without(each), crop).is_found.any()]
    return Answer(version.info.name, neighbors, tuple(to_relax))


def _search(version: IndexVersion, question: Question, crop: NDArray[np.uint8] | None) -> Neighbors:
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
    raise HandsimError("there is nothing to search for yet; choose a hand, a picture or a pose")


def build_query_cards(library: Library, pool: Pool, version: IndexVersion, question: Question) -> list[Card]:
    """The question as cards: one for a hand or a pose, one for each example."""
    if question.pose is not None:
        return [_pose_card(question)]
    if question.hand is not None:
        subjects: list[tuple[int, str, bool | None]] = [(question.hand, "Query", None)]
    else:
        subjects = [(hand, "Like", True) for hand in question.like]
        subjects += [(hand, "Unlike", False) for hand in question.unlike]
    cards = []
    for hand, title, liked in subjects:
        try:
            lines = describe_payload(version.payloads([hand])[0])
        except NotThereError:
            lines = ("not in this index",)
        lines = (format_hand_id(hand), *lines)
        cards.append(build_card(library, pool, hand, title, lines, liked=liked))
    return cards


def build_trail_cards(library: Library, pool: Pool, trail: Sequence[Question]) -> list[Card]:
    """A small card for each question; its id is the question's place in the trail."""
    cards = []
    for place, question in enumerate(trail):
        if question.pose is not None:
            card, line = _pose_card(question), "pose"
        elif question.hand is not None:
            card, line = build_card(library, pool, question.hand), shorten_id(question.hand)
        else:
            card = build_card(library, pool, question.like[0])
            line = f"{len(question.like)} like, {len(question.unlike)} unlike"
        cards.append(Card(place, card.picture, card.keypoints, "", (line,)))
    return cards


def _pose_card(question: Question) -> Card:
    detection = session.find_detection(question.pose)
    if detection is None:
        return Card(_NO_HAND, None, question.keypoints(), "Query", ("a drawn pose",))
    line = f"from your picture · {detection.describe_side()}"
    return Card(_NO_HAND, encode_thumbnail(detection.crop), question.keypoints(), "Query", (line,))


def to_csv(neighbors: Sequence[Neighbor]) -> bytes:
    """A UTF-8 table with a header: rank, hand, distance and payload of each neighbor."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["rank", "hand_id", "distance", *_CSV_COLUMNS])
    for rank, neighbor in enumerate(neighbors, start=1):
        payload = dict(neighbor.payload or {})
        cells = [disarm_formula(payload.get(column)) for column in _CSV_COLUMNS]
        writer.writerow([rank, format_hand_id(neighbor.hand_id), f"{neighbor.distance:.6f}", *cells])
    return buffer.getvalue().encode()


def build_montage_query(
    library: Library, pool: Pool, question: Question, version_name: str, crop: NDArray[np.uint8] | None
) -> Query:
    """The question as a montage shows it; ``crop`` is the picture that a pose was found in.

    Streamlit makes downloads outside of sessions, so this reads no session state. Raises NotThereError if the
    version that gave the answer was removed.
    """
    if question.pose is not None:
        return Query({}, ("pose",), question.keypoints(), crop)
    with library.catalog.open(version_name) as version:
        if question.hand is not None:
            return Query.from_hand(question.hand, version, pool)
        return Query.from_examples(question.like, question.unlike, version, pool)


def to_png(pool: Pool, query: Query, neighbors: Sequence[Neighbor]) -> bytes:
    """The query and its neighbors as the montage of ``handsim query --montage``."""
    buffer = io.BytesIO()
    draw_montage(pool, [query], [neighbors], columns=_MONTAGE_COLUMNS).save(buffer, "PNG")
    return buffer.getvalue()

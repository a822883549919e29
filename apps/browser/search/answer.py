"""The answer to a question: the search itself, cards of what was asked about, and files to download."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser import session
from apps.browser.components.hand_grid import Card
from apps.browser.library import Library, encode_thumbnail, stack_thumbnails
from apps.browser.search.question import Condition, Example, Question, ReadLists, pose_keypoints
from apps.browser.ui import build_card, describe_payload, shorten_id
from apps.cli.console import disarm_formula
from apps.cli.query import Query, draw_montage
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index import IndexVersion, Neighbor, Neighbors

_MONTAGE_COLUMNS: Final = 8
_CSV_COLUMNS: Final = ("video", "source", "side", "label", "frame", "score")

Pose = tuple[int, ...]
Crops = Mapping[Pose, NDArray[np.uint8]]
"""Poses to the pictures RGB [S, S, 3] that they were found in."""


@dataclass(frozen=True)
class Answer:
    version: str
    """The name of the index version."""
    neighbors: tuple[Neighbor, ...]
    """Nearest first, with their payloads."""
    to_relax: tuple[Condition, ...] = ()
    """If there are no neighbors: the conditions of which each, left out alone, lets hands in."""


def read_no_lists(names: tuple[str, ...]) -> frozenset[int]:
    raise NotThereError(f"no list {names[0]!r}; there is none")


def answer_question(
    version: IndexVersion,
    question: Question,
    crops: Crops = MappingProxyType({}),
    read_lists: ReadLists = read_no_lists,
) -> Answer:
    """Search a version; ``crops`` are the pictures that poses were found in, where they were found in any.

    Raises NotThereError for a hand that the version does not hold; HandsimError for an empty question, and
    for a pose without a picture if the version embeds pictures.
    """
    vectors = embed_poses(version, question, crops)
    neighbors = tuple(_search(version, question, vectors, read_lists)[0])
    candidates = () if neighbors else question.conditions
    to_relax = [
        each
        for each in candidates
        if _search(version, question.without(each), vectors, read_lists).is_found.any()
    ]
    return Answer(version.info.name, neighbors, tuple(to_relax))


def embed_poses(version: IndexVersion, question: Question, crops: Crops) -> dict[Pose, NDArray[np.float32]]:
    """A vector [D] for each pose that is asked about."""
    poses = question.poses
    if not poses:
        return {}
    pictures = [crops[pose] for pose in poses if pose in crops]
    if pictures and len(pictures) < len(poses) and version.embedding.kind == "image":
        raise HandsimError("an index of pictures compares pictures; take the mark off the drawn pose")
    keypoints = np.stack([pose_keypoints(pose) for pose in poses])
    whole = pictures if len(pictures) == len(poses) else None
    return dict(zip(poses, version.embedding.embed(keypoints=keypoints, crops=whole), strict=True))


def _search(
    version: IndexVersion,
    question: Question,
    vectors: Mapping[Pose, NDArray[np.float32]],
    read_lists: ReadLists,
) -> Neighbors:
    k, options = min(question.k, len(version)), question.options(read_lists)
    if question.hand is not None:
        return version.search_hands([question.hand], k, other_video=question.other_video, options=options)
    if question.pose is not None:
        return version.search(vectors[question.pose][None], k, options=options)
    if question.like:
        liked, unliked = (
            [example for example in examples if isinstance(example, int)]
            for examples in (question.like, question.unlike)
        )
        near, far = (
            np.stack(poses)
            if (poses := [vectors[each] for each in examples if not isinstance(each, int)])
            else None
            for examples in (question.like, question.unlike)
        )
        return version.recommend(
            liked,
            unliked,
            k,
            positive_vectors=near,
            negative_vectors=far,
            other_video=question.other_video and question.has_video,
            options=options,
        )
    raise HandsimError("there is nothing to search for yet; choose a hand, a picture or a pose")


def stack_by_video(neighbors: Sequence[Neighbor]) -> list[tuple[Neighbor, int]]:
    """The nearest one of each video, and how many more of it there are."""
    stacks: dict[str | None, list[Neighbor]] = {}
    for neighbor in neighbors:
        stacks.setdefault(neighbor.payload and neighbor.payload["video"], []).append(neighbor)
    return [(stack[0], len(stack) - 1) for stack in stacks.values()]


def find_unknown(version: IndexVersion, question: Question) -> list[int]:
    """The hands in the question that the version does not hold."""
    hands = question.hands
    return [
        hand for hand, vector in zip(hands, version.find_vectors(hands), strict=True) if np.isnan(vector[0])
    ]


def find_crops(question: Question) -> dict[Pose, NDArray[np.uint8]]:
    """The pictures RGB [S, S, 3] that this visitor uploaded, of the poses in the question."""
    found = {pose: session.find_detection(pose) for pose in question.poses}
    return {pose: detection.crop for pose, detection in found.items() if detection is not None}


def build_query_cards(library: Library, pool: Pool, version: IndexVersion, question: Question) -> list[Card]:
    """The question as cards, one for each example; a pose is named by its place (`example_of_card`)."""
    titles = ["Like"] * len(question.like) + ["Unlike"] * len(question.unlike) or ["Query"]
    marks: list[bool | None] = [*[True] * len(question.like), *[False] * len(question.unlike)]
    cards = []
    for place, (example, title, liked) in enumerate(
        zip(question.examples, titles, marks or [None], strict=True), start=1
    ):
        if not isinstance(example, int):
            cards.append(_pose_card(place, example, title, liked))
            continue
        try:
            lines = describe_payload(version.payloads([example])[0])
        except NotThereError:
            lines = ("not in this index",)
        lines = (*lines, format_hand_id(example))
        cards.append(build_card(library, pool, example, title, lines, liked=liked))
    return cards


def example_of_card(question: Question, card_id: int) -> Example:
    """What a card of `build_query_cards` shows."""
    examples = question.examples
    if 1 <= card_id <= len(examples) and not isinstance(examples[card_id - 1], int):
        return examples[card_id - 1]
    return card_id


def build_trail_cards(library: Library, pool: Pool, trail: Sequence[Question]) -> list[Card]:
    """A small card for each question; its id is the question's place in the trail."""
    cards = []
    for place, question in enumerate(trail):
        examples = [
            build_card(library, pool, example)
            if isinstance(example, int)
            else _pose_card(place, example, "", None)
            for example in question.examples
        ]
        if question.like:
            line = f"{len(question.like)} like"
            line += f", {len(question.unlike)} unlike" if question.unlike else ""
        else:
            line = "pose" if question.hand is None else shorten_id(question.hand)
        pictures = [card.picture for card in examples if card.picture is not None]
        if len(pictures) > 1:
            cards.append(Card(place, stack_thumbnails(pictures), None, "", (line,)))
        else:
            cards.append(Card(place, examples[0].picture, examples[0].keypoints, "", (line,)))
    return cards


def _pose_card(place: int, pose: Pose, title: str, liked: bool | None) -> Card:
    detection = session.find_detection(pose)
    keypoints = pose_keypoints(pose)
    if detection is None:
        return Card(place, None, keypoints, title, ("a pose",), liked)
    line = f"from your picture · {detection.describe_side()}"
    return Card(place, encode_thumbnail(detection.crop), keypoints, title, (line,), liked)


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
    library: Library, pool: Pool, question: Question, version_name: str, crops: Crops
) -> Query:
    """The question as a montage shows it, by its first example; ``crops`` as for `answer_question`.

    Streamlit makes downloads outside of sessions, so this reads no session state. Raises NotThereError if the
    version that gave the answer was removed.
    """
    first = question.examples[0]
    title = (f"like {pluralize(len(question.like), 'hand')}, unlike {len(question.unlike)}",)
    if not isinstance(first, int):
        title = ("pose",) if question.pose is not None else title
        return Query({}, title, pose_keypoints(first), crops.get(first))
    with library.catalog.open(version_name) as version:
        query = Query.from_hand(first, version, pool)
    return query if question.hand is not None else replace(query, title=title)


def to_png(pool: Pool, query: Query, neighbors: Sequence[Neighbor]) -> bytes:
    """The query and its neighbors as the montage of ``handsim query --montage``."""
    buffer = io.BytesIO()
    draw_montage(pool, [query], [neighbors], columns=_MONTAGE_COLUMNS).save(buffer, "PNG")
    return buffer.getvalue()

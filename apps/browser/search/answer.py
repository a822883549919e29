"""Questions answered, and why an answer is empty."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.search.question import Condition, Question
from handsim.errors import HandsimError
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
    relaxing = [each for each in tried if _ask(version, question.without(each), crop).found.any()]
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

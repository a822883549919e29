"""What a question of Search says about the hands on a map: its answer, its subject, and distances."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.pose_map import PoseMap
from apps.browser.search.answer import Crops, Pose, answer_question, embed_poses, find_unknown, read_no_lists
from apps.browser.search.question import Question, ReadLists
from handsim.english import describe_distance, pluralize
from handsim.hand import format_hand_id
from index import IndexVersion, SearchOptions

_NEAR: Final = 20
"""A pose lies where the nearest hand does: of so many the first that is on the map."""

MarkKind = Literal["query", "like", "unlike"]


@dataclass(frozen=True)
class Mark:
    """An example of the question on the map."""

    row: int
    """Of the hand; for a pose of the hand nearest to it."""
    kind: MarkKind


@dataclass(frozen=True)
class Links:
    """A question's answer and subject on a map."""

    rows: tuple[int, ...] = ()
    """Of the answer's hands that are on the map, nearest first."""
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()
    """What the map cannot show, or shows elsewhere, in sentences."""


def find_links(
    version: IndexVersion,
    pose_map: PoseMap,
    question: Question,
    crops: Crops,
    read_lists: ReadLists = read_no_lists,
) -> Links:
    """Answer a question and find it on the map; ``crops`` and ``read_lists`` as for `answer_question`.

    A map does not keep its projection (UMAP's would be a pickle of code), so a pose that is no hand of the
    index lies where the hand nearest to it does. Raises HandsimError as `answer_question` does.
    """
    if question.is_empty:
        return Links()
    marks, notes = _mark_examples(version, pose_map, question, embed_poses(version, question, crops))
    if find_unknown(version, question):
        return Links((), tuple(marks), tuple(notes))
    answer = answer_question(version, question, crops, read_lists)
    rows = pose_map.find_rows([neighbor.hand_id for neighbor in answer.neighbors])
    absent = int((rows < 0).sum())
    if absent:
        notes.append(f"{pluralize(absent, 'result is', 'results are')} not on this map.")
    return Links(tuple(rows[rows >= 0].tolist()), tuple(marks), tuple(notes))


def _mark_examples(
    version: IndexVersion, pose_map: PoseMap, question: Question, vectors: Mapping[Pose, NDArray[np.float32]]
) -> tuple[list[Mark], list[str]]:
    """Marks, and notes on what has none or is no hand of the index."""
    kinds: list[MarkKind] = ["like"] * len(question.like)
    kinds += ["unlike"] * len(question.unlike)
    kinds = kinds or ["query"]
    marks, notes, distances = [], [], []
    for example, kind in zip(question.examples, kinds, strict=True):
        if isinstance(example, int):
            row = int(pose_map.find_rows([example])[0])
            if row < 0:
                notes.append(f"Hand {format_hand_id(example)} is not on this map.")
        else:
            row, distance = _find_nearest(version, pose_map, vectors[example])
            distances.append(distance)
        if row >= 0:
            marks.append(Mark(row, kind))
    if len(distances) == 1:
        nearest = describe_distance(distances[0])
        notes.append(f"The pose is no hand of the index: its mark is at the hand nearest to it ({nearest}).")
    elif distances:
        notes.append(f"{len(distances)} poses are no hands of the index: each mark is at the nearest hand.")
    return marks, notes


def _find_nearest(version: IndexVersion, pose_map: PoseMap, vector: NDArray[np.float32]) -> tuple[int, float]:
    """The row of the hand nearest to a vector [D] of those on the map, or -1, and its distance."""
    nearest = version.search(vector[None], min(_NEAR, len(version)), options=SearchOptions())
    rows = pose_map.find_rows(nearest.hand_ids[0])
    rows[~nearest.is_found[0]] = -1
    place = int(np.argmax(rows >= 0))
    return int(rows[place]), float(nearest.distances[0, place])


def measure_distances(
    version: IndexVersion, vectors: NDArray[np.float32], question: Question, crops: Crops
) -> NDArray[np.float32]:
    """[N] from some vectors [N, D] to the question's subject, of several examples with + to the nearest.

    NaN where a vector is, and for a hand that the version lacks.
    """
    embedded = embed_poses(version, question, crops)
    subjects = [
        version.find_vectors([example])[0] if isinstance(example, int) else embedded[example]
        for example in question.like or question.examples
    ]
    distances: NDArray[np.float32] = np.min(
        [np.linalg.norm(vectors - subject, axis=1) for subject in subjects], axis=0
    )
    return distances


def read_vectors(version: IndexVersion, pose_map: PoseMap) -> NDArray[np.float32]:
    """[N, D] of the hands on a map, NaN for those that the version lacks: 500,000 take ten seconds."""
    vectors = np.full((len(pose_map), version.info.dimension), np.nan, dtype=np.float32)
    for batch in version.batches():
        rows = pose_map.find_rows(batch.hand_ids)
        vectors[rows[rows >= 0]] = batch.vectors[rows >= 0]
    return vectors

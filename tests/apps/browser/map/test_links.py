"""What a question of Search says about the hands on a map, on a real index."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.browser.jobs import JobReporter
from apps.browser.map.build import JOB, make_map
from apps.browser.map.links import Mark, find_links, measure_distances, read_vectors
from apps.browser.map.pose_map import PoseMap
from apps.browser.search.answer import answer_question
from apps.browser.search.question import Question, quantise_keypoints
from handsim import Pool
from index import IndexVersion, open_catalog
from tests.apps.browser.map.test_build import FirstTwo


@pytest.fixture(scope="module")
def version(home: Path) -> Iterator[IndexVersion]:
    with open_catalog(home / "index") as catalog, catalog.current() as current:
        yield current


@pytest.fixture(scope="module")
def pose_map(version: IndexVersion, tmp_path_factory: pytest.TempPathFactory) -> PoseMap:
    return make_map(version, JobReporter(tmp_path_factory.mktemp("no jobs"), JOB), project=FirstTwo)


def test_the_answer_lights_up_and_the_query_is_marked(version: IndexVersion, pose_map: PoseMap) -> None:
    first, second, third = (int(hand) for hand in pose_map.hand_ids[[0, 20, 40]])
    for question, marks in (
        (Question(hand=first, k=7), (Mark(0, "query"),)),
        (
            Question(like=(first, third), unlike=(second,)),
            (Mark(0, "like"), Mark(40, "like"), Mark(20, "unlike")),
        ),
    ):
        links = find_links(version, pose_map, question, {})
        answer = answer_question(version, question)
        assert pose_map.hand_ids[list(links.rows)].tolist() == [each.hand_id for each in answer.neighbors]
        assert (links.marks, links.notes) == (marks, ())
    assert find_links(version, pose_map, Question(labels=("x",)), {}).rows == ()


def test_a_pose_lies_where_the_nearest_hand_does(
    version: IndexVersion, pose_map: PoseMap, home: Path
) -> None:
    pool = Pool.open(home / "pool")
    pose = quantise_keypoints(pool.keypoints[pool.rows(pose_map.hand_ids[[5]])[0]])
    links = find_links(version, pose_map, Question(pose=pose), {})
    assert links.marks == (Mark(5, "query"),)
    assert links.notes[0].startswith(
        "The pose is no hand of the index: its mark is at the hand nearest to it"
    )
    assert len(links.rows) == 24
    several = find_links(
        version, pose_map, Question(like=(pose, int(pose_map.hand_ids[9]), (*pose[:-1], 1))), {}
    )
    assert several.marks[1] == Mark(9, "like")
    assert several.notes == ("2 poses are no hands of the index: each mark is at the nearest hand.",)


def test_what_is_not_on_the_map_is_said(version: IndexVersion, pose_map: PoseMap) -> None:
    hand = int(pose_map.hand_ids[0])
    part = replace(
        pose_map,
        **{name: getattr(pose_map, name)[1:11] for name in ("hand_ids", "places", "distances")},
    )
    links = find_links(version, part, Question(hand=hand, k=59, other_video=False), {})
    assert (len(links.rows), links.marks) == (10, ())
    assert "is not on this map." in links.notes[0]
    assert links.notes[1] == "49 results are not on this map."
    unknown = find_links(version, pose_map, Question(hand=999), {})
    assert (unknown.rows, unknown.notes) == ((), ("Hand 00000000000003e7 is not on this map.",))


def test_distances_are_to_the_query_or_to_the_nearest_example(
    version: IndexVersion, pose_map: PoseMap
) -> None:
    vectors = read_vectors(version, pose_map)
    np.testing.assert_array_equal(vectors, version.vectors(pose_map.hand_ids))
    first, second, third = (int(hand) for hand in pose_map.hand_ids[[0, 20, 40]])
    away = np.linalg.norm(vectors[:, None] - vectors[[0, 20]], axis=2)
    measured = measure_distances(version, vectors, Question(hand=first), {})
    np.testing.assert_allclose(measured, away[:, 0], atol=1e-5)
    measured = measure_distances(version, vectors, Question(like=(first, second), unlike=(third,)), {})
    np.testing.assert_allclose(measured, away.min(axis=1), atol=1e-5)

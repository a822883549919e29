"""Answers of a real index, what to relax if they are empty, and their downloads."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.browser.library import Library
from apps.browser.search.answer import (
    answer_question,
    build_montage_query,
    build_query_cards,
    build_trail_cards,
    example_of_card,
    to_csv,
    to_png,
)
from apps.browser.search.question import Question, quantise_keypoints
from apps.browser.serve import BrowserSettings
from handsim import Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool.removal import remove
from index import Neighbor, SearchOptions
from index.query import Payload


def test_a_hand_is_answered_as_the_index_answers_it(library: Library) -> None:
    with library.open_version() as version:
        hand = int(library.open_pool().hand_ids[7])
        answer = answer_question(version, Question(hand=hand, k=5))
        options = SearchOptions(with_payload=True)
        assert list(answer.neighbors) == version.search_hands([hand], 5, other_video=True, options=options)[0]
        assert answer.version == version.info.name
        assert len(answer_question(version, Question(hand=hand, k=200, other_video=False)).neighbors) == 59


def test_a_drawn_pose_finds_the_hand_that_it_copies(library: Library) -> None:
    pool = library.open_pool()
    with library.open_version() as version:
        answer = answer_question(version, Question(pose=quantise_keypoints(pool.keypoints[11]), k=1))
    assert answer.neighbors[0].hand_id == int(pool.hand_ids[11])
    assert answer.neighbors[0].distance < 0.02


def test_answers_to_examples_are_nearer_to_the_liked_than_to_the_unliked_hand(library: Library) -> None:
    like, unlike = (int(hand) for hand in library.open_pool().hand_ids[[3, 40]])
    with library.open_version() as version:
        answer = answer_question(version, Question(like=(like,), unlike=(unlike,), k=9))
        vectors = version.vectors([neighbor.hand_id for neighbor in answer.neighbors])
        liked, unliked = version.vectors([like, unlike])
    assert len(vectors)
    assert (np.linalg.norm(vectors - liked, axis=1) < np.linalg.norm(vectors - unliked, axis=1)).all()


def test_a_pose_is_an_example_as_the_hand_that_it_copies_is(library: Library) -> None:
    pool = library.open_pool()
    like, more, unlike = (int(hand) for hand in pool.hand_ids[[3, 7, 40]])
    pose, other = (quantise_keypoints(pool.keypoints[row]) for row in (3, 40))
    with library.open_version() as version:
        hands = answer_question(
            version, Question(like=(like, more), unlike=(unlike,), k=9, other_video=False)
        )
        posed = answer_question(
            version, Question(like=(pose, more), unlike=(other,), k=12, other_video=False)
        )
        assert len(answer_question(version, Question(like=(pose,), k=60)).neighbors) == 60  # of no video
        found = [hand.hand_id for hand in posed.neighbors]
        assert found[0] == like  # the pose is not the hand itself
        assert [hand for hand in found if hand not in (like, unlike)][:8] == [
            hand.hand_id for hand in hands.neighbors
        ][:8]
        cards = build_query_cards(library, pool, version, Question(like=(pose, more), unlike=(other,)))
    question = Question(like=(pose, more), unlike=(other,))
    assert [example_of_card(question, card.hand_id) for card in cards] == [pose, more, other]
    assert [card.liked for card in cards] == [True, True, False]


def test_an_empty_answer_names_the_conditions_that_let_hands_in(library: Library) -> None:
    hand = int(library.open_pool().hand_ids[0])
    with library.open_version() as version:
        one = answer_question(version, Question(hand=hand, max_distance=0.0))
        assert (one.neighbors, one.to_relax) == ((), ("max_distance",))
        none = answer_question(version, Question(hand=hand, max_distance=0.0, sources=("nowhere",)))
        assert (none.neighbors, none.to_relax) == ((), ())


def test_unknown_hands_and_empty_questions_are_refused(library: Library) -> None:
    with library.open_version() as version:
        with pytest.raises(NotThereError, match="00000000000003e7"):
            answer_question(version, Question(hand=999))
        with pytest.raises(HandsimError, match="nothing to search for"):
            answer_question(version, Question())


def test_the_table_and_the_montage_hold_all_answers_with_the_pictures_that_there_are(
    library: Library, tmp_path: Path
) -> None:
    pool = library.open_pool()
    question = Question(hand=int(pool.hand_ids[0]), k=11)
    with library.open_version() as version:
        answer = answer_question(version, question)
    rows = list(csv.DictReader(io.StringIO(to_csv(answer.neighbors).decode())))
    assert [row["hand_id"] for row in rows] == [format_hand_id(each.hand_id) for each in answer.neighbors]
    assert [float(row["distance"]) for row in rows] == sorted(float(row["distance"]) for row in rows)
    assert all(row["video"] and row["side"] in ("left", "right") for row in rows)
    query = build_montage_query(library, pool, question, answer.version, {})
    sheet = Image.open(io.BytesIO(to_png(pool, query, answer.neighbors)))
    assert sheet.format == "PNG"
    assert 1000 < sheet.width < 2000  # eight in a row
    assert sheet.height > 400  # and so two rows
    with PoolWriter(tmp_path / "empty"):
        pass
    lacking = Pool.open(tmp_path / "empty")
    query = build_montage_query(library, lacking, question, answer.version, {})
    assert to_png(lacking, query, answer.neighbors).startswith(b"\x89PNG")


def test_the_montage_of_a_photograph_shows_it(library: Library) -> None:
    pool = library.open_pool()
    pose = quantise_keypoints(pool.keypoints[0])
    crop = pool.crop(int(pool.hand_ids[0]))
    for question in (Question(pose=pose), Question(like=(pose, int(pool.hand_ids[1])))):
        assert build_montage_query(library, pool, question, "v0001", {pose: crop}).crop is crop


def test_a_step_with_several_examples_shows_them_stacked(library: Library) -> None:
    pool = library.open_pool()
    one, two = (int(hand) for hand in pool.hand_ids[:2])
    several, single = build_trail_cards(library, pool, [Question(like=(one, two)), Question(hand=one)])
    assert several.picture not in (None, single.picture, library.thumbnails.get_uri(pool, two))
    assert (several.keypoints, several.lines) == (None, ("2 like",))
    assert single.picture == library.thumbnails.get_uri(pool, one)


def test_a_name_in_the_table_is_never_a_formula() -> None:
    payload = Payload(video="=1+1", source='a,"b"', side="left", label=None, score=0.5, frame=3)
    (row,) = csv.DictReader(io.StringIO(to_csv([Neighbor(5, 0.25, payload)]).decode()))
    assert (row["video"], row["source"], row["label"]) == ("'=1+1", 'a,"b"', "")


def test_a_hand_that_was_removed_from_the_pool_since_says_so_on_its_card(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    hand = int(library.open_pool().hand_ids[7])
    remove(library.home.pool, [hand])
    with library.open_version() as version:
        (card,) = build_query_cards(library, library.open_pool(), version, Question(hand=hand))
        assert len(answer_question(version, Question(hand=hand, k=5)).neighbors) == 5
    assert (card.picture, card.lines[-1]) == (None, "removed from the pool since")

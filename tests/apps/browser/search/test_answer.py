"""Answers of a real index, and what to relax where they are empty."""

import numpy as np
import pytest

from apps.browser.library import Library
from apps.browser.search.answer import answer
from apps.browser.search.question import Question, quantise_keypoints
from handsim.errors import HandsimError, NotThereError
from index import SearchOptions


def test_a_hand_is_asked_about(library: Library) -> None:
    with library.open_version() as version:
        hand = int(library.open_pool().hand_ids[7])
        said = answer(version, Question(hand=hand, k=5))
        found = version.search_hands([hand], 5, other_video=True, options=SearchOptions(with_payload=True))[0]
        assert list(said.neighbors) == found
        assert said.version == version.info.name


def test_a_drawn_pose_finds_the_hand_it_was_drawn_after(library: Library) -> None:
    pool = library.open_pool()
    with library.open_version() as version:
        said = answer(version, Question(pose=quantise_keypoints(pool.keypoints[11]), k=1))
    assert said.neighbors[0].hand_id == int(pool.hand_ids[11])
    assert said.neighbors[0].distance < 0.02


def test_examples(library: Library) -> None:
    like, unlike = (int(hand) for hand in library.open_pool().hand_ids[[3, 40]])
    with library.open_version() as version:
        said = answer(version, Question(like=(like,), unlike=(unlike,), k=9))
        near = version.vectors([found.hand_id for found in said.neighbors])
        liked, unliked = version.vectors([like, unlike])
    assert said.neighbors
    assert (np.linalg.norm(near - liked, axis=1) < np.linalg.norm(near - unliked, axis=1)).all()


def test_more_than_there_are(library: Library) -> None:
    hand = int(library.open_pool().hand_ids[0])
    with library.open_version() as version:
        assert len(answer(version, Question(hand=hand, k=200, other_video=False)).neighbors) == 59


def test_an_empty_answer_says_what_to_relax(library: Library) -> None:
    hand = int(library.open_pool().hand_ids[0])
    with library.open_version() as version:
        said = answer(version, Question(hand=hand, max_distance=0.0))
        assert (said.neighbors, said.to_relax) == ((), ("max_distance",))
        nothing = answer(version, Question(hand=hand, max_distance=0.0, sources=("nowhere",)))
        assert (nothing.neighbors, nothing.to_relax) == ((), ())


def test_what_cannot_be_asked(library: Library) -> None:
    with library.open_version() as version:
        with pytest.raises(NotThereError, match="00000000000003e7"):
            answer(version, Question(hand=999))
        with pytest.raises(HandsimError, match="nothing to ask about"):
            answer(version, Question())

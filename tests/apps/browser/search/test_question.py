"""Questions as values, and as addresses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.browser.search.question import Question, quantise_keypoints
from handsim.errors import HandsimError
from handsim.hand import MAX_HAND_ID

_ids = st.integers(0, MAX_HAND_ID)
_names = st.lists(st.text(min_size=1).filter(lambda text: "\n" not in text), max_size=3, unique=True).map(
    tuple
)
_subjects = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"hand": _ids}),
    st.fixed_dictionaries({"pose": st.tuples(*[st.integers(-10_000, 10_000)] * 42)}),
    st.fixed_dictionaries(
        {
            "like": st.lists(_ids, min_size=1, max_size=3).map(tuple),
            "unlike": st.lists(_ids, max_size=3).map(tuple),
        }
    ),
)
_conditions = st.fixed_dictionaries(
    {
        "k": st.integers(1, 200),
        "other_video": st.booleans(),
        "sources": _names,
        "labels": _names,
        "side": st.sampled_from([None, "left", "right"]),
        "max_distance": st.none() | st.floats(0, 1e6),
    }
)


@given(_subjects, _conditions)
def test_an_address_says_the_whole_question(subject: dict, conditions: dict) -> None:  # type: ignore[type-arg]
    question = Question(**subject, **conditions)
    assert Question.from_params(question.as_params()) == question


def test_an_address_says_no_more_than_it_must() -> None:
    assert Question().as_params() == {}
    assert Question(hand=7).as_params() == {"hand": "0000000000000007"}


def test_what_is_no_part_of_a_question_is_passed_over() -> None:
    assert Question.from_params({"hand": "0000000000000007", "utm": "x"}) == Question(hand=7)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"hand": "xyz"}, "hand = 'xyz', which cannot be read"),
        ({"k": "many"}, "k = 'many'"),
        ({"k": "0"}, "k is 0; between 1 and 200"),
        ({"k": "100000000"}, "between 1 and 200"),
        ({"side": "up"}, "side = 'up'"),
        ({"other_video": "maybe"}, "other_video = 'maybe'"),
        ({"pose": "1.2.3"}, "a pose is 42 numbers"),
        ({"pose": ".".join(["99999"] * 42)}, "a pose is 42 numbers"),
        ({"max_distance": "nan"}, "max_distance is nan"),
        ({"diversity": "2"}, "diversity is 2.0"),
        ({"diversity": "0.5", "one_per_video": "yes"}, "Diversity does not go with One per video"),
        ({"hand": "0000000000000007", "like": "0000000000000007"}, "not about several at once"),
        ({"unlike": "0000000000000007"}, "goes with 'more like these'"),
    ],
)
def test_an_address_that_cannot_be_read(params: dict[str, str], said: str) -> None:
    with pytest.raises(HandsimError, match=said):
        Question.from_params(params)


def test_marks() -> None:
    begun = Question(hand=1, k=5, diversity=0.5)
    more = begun.marked(2, like=True)
    assert (more.like, more.unlike, more.hand, more.k, more.diversity) == ((1, 2), (), None, 5, 0.0)
    less = more.marked(3, like=False)
    assert (less.like, less.unlike) == ((1, 2), (3,))
    assert less.marked(3, like=False) == more  # a second time takes it off
    assert less.marked(3, like=True).unlike == ()  # from one side to the other
    assert less.marked(2, like=False).like == (1,)
    assert Question(like=(1,)).marked(1, like=True) == Question(like=(1,))  # the last one stays


def test_examples_are_bounded() -> None:
    most = Question(like=tuple(range(1, 30)), unlike=(50, 51, 52))
    with pytest.raises(HandsimError, match="At most 32 hands"):
        most.marked(99, like=True)
    assert most.marked(52, like=False).unlike == (50, 51)


def test_a_pose_cannot_be_unlike_anything_alone() -> None:
    drawn = Question(pose=(0, 1) * 21)
    assert drawn.marked(3, like=False) == drawn
    assert drawn.marked(3, like=True).like == (3,)


def test_poses_are_rounded_to_thousandths() -> None:
    keypoints = np.random.default_rng(0).uniform(-0.2, 1.2, (21, 3))
    told = Question(pose=quantise_keypoints(keypoints)).keypoints()
    assert told.dtype == np.float32
    assert np.abs(told - keypoints[:, :2]).max() <= 0.5e-3 + 1e-6


def test_conditions_are_what_leaves_hands_out() -> None:
    question = Question(hand=1, other_video=True, side="left", max_distance=0.5)
    assert question.conditions == ["other_video", "side", "max_distance"]
    assert question.without("side").conditions == ["other_video", "max_distance"]
    assert Question(hand=1, other_video=False).conditions == []

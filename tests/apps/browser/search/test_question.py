"""Questions as values and as addresses, and the preset poses."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.browser.search.question import PRESETS, Question, make_preset, quantise_keypoints
from handsim.errors import HandsimError
from handsim.hand import MAX_HAND_ID
from handsim.skeleton import FINGER_JOINTS, JOINT_NAMES

_ids = st.integers(0, MAX_HAND_ID)
_some = st.lists(_ids, max_size=3).map(tuple)
_at_least_one = st.lists(_ids, min_size=1, max_size=3).map(tuple)
_name = st.text(min_size=1).filter(lambda text: "\n" not in text)
_names = st.lists(_name, max_size=3, unique=True).map(tuple)
_subjects = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"hand": _ids}),
    st.fixed_dictionaries({"pose": st.tuples(*[st.integers(-10_000, 10_000)] * 42)}),
    st.fixed_dictionaries({"like": _at_least_one, "unlike": _some}),
)
_sides = st.sampled_from([None, "left", "right"])
_conditions = st.fixed_dictionaries(
    {
        **{"k": st.integers(1, 200), "other_video": st.booleans(), "sources": _names, "labels": _names},
        **{"side": _sides, "max_distance": st.none() | st.floats(0, 1e6)},
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_subjects, _conditions)
def test_an_address_holds_the_whole_question(subject: dict, conditions: dict) -> None:  # type: ignore[type-arg]
    question = Question(**subject, **conditions)
    assert Question.from_params(question.to_params()) == question


def test_an_address_leaves_out_defaults_and_ignores_foreign_names() -> None:
    assert Question().to_params() == {}
    assert Question(hand=7).to_params() == {"hand": "0000000000000007"}
    assert Question.from_params({"hand": "0000000000000007", "utm": "x"}) == Question(hand=7)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hand": "xyz"}, "hand = 'xyz', which cannot be read"),
        ({"k": "many"}, "k = 'many'"),
        ({"k": "0"}, "k is 0; ask for 1 to 200"),
        ({"k": "100000000"}, "ask for 1 to 200"),
        ({"side": "up"}, "side = 'up'"),
        ({"other_video": "maybe"}, "other_video = 'maybe'"),
        ({"pose": "1.2.3"}, "a pose is 42 numbers"),
        ({"pose": ".".join(["99999"] * 42)}, "a pose is 42 numbers from -10000 to 10000"),
        ({"max_distance": "nan"}, "max_distance is nan"),
        ({"diversity": "2"}, "diversity is 2.0"),
        ({"diversity": "0.5", "one_per_video": "yes"}, "Diversity does not go with One per video"),
        ({"hand": "0000000000000007", "like": "0000000000000007"}, "not about several at once"),
        ({"unlike": "0000000000000007"}, "goes with 'more like these'"),
    ],
)
def test_an_invalid_address_is_refused(params: dict[str, str], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        Question.from_params(params)


def test_a_mark_adds_an_example_and_a_second_one_takes_it_off() -> None:
    begun = Question(hand=1, k=5, diversity=0.5)
    more = begun.with_mark(2, like=True)
    assert (more.like, more.unlike, more.hand, more.k, more.diversity) == ((1, 2), (), None, 5, 0.0)
    less = more.with_mark(3, like=False)
    assert (less.like, less.unlike) == ((1, 2), (3,))
    assert less.with_mark(3, like=False) == more
    assert less.with_mark(3, like=True).unlike == ()  # from one side to the other
    assert less.with_mark(2, like=False).like == (1,)
    assert Question(like=(1,)).with_mark(1, like=True) == Question(like=(1,))  # the last one stays
    drawn = Question(pose=(0, 1) * 21)
    assert drawn.with_mark(3, like=False) == drawn  # a pose cannot be an example
    assert drawn.with_mark(3, like=True).like == (3,)
    with pytest.raises(HandsimError, match="At most 32 hands"):
        Question(like=tuple(range(1, 30)), unlike=(50, 51, 52)).with_mark(99, like=True)


def test_a_pose_is_rounded_to_thousandths() -> None:
    keypoints = np.random.default_rng(0).uniform(-0.2, 1.2, (21, 3))
    rounded = Question(pose=quantise_keypoints(keypoints)).keypoints()
    assert rounded.dtype == np.float32
    assert np.abs(rounded - keypoints[:, :2]).max() <= 0.5e-3 + 1e-6


def test_conditions_are_what_leaves_hands_out() -> None:
    question = Question(hand=1, other_video=True, side="left", max_distance=0.5)
    assert question.conditions == ["other_video", "side", "max_distance"]
    assert question.without("side").conditions == ["other_video", "max_distance"]
    assert Question(hand=1, other_video=False).conditions == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lies_upright_within_the_crop(name: str) -> None:
    hand = Question(pose=make_preset(name)).keypoints()
    assert 0.05 < hand.min() < hand.max() < 0.95
    assert hand[0, 1] == hand[:, 1].max()  # the wrist is lowest
    thumb = JOINT_NAMES.index("thumb_cmc")
    assert hand[thumb, 0] > hand[0, 0]  # a right hand's palm has the thumb on the right


def test_presets_have_the_pose_of_their_name() -> None:
    hands = {name: Question(pose=make_preset(name)).keypoints() for name in PRESETS}

    def reach(name: str, finger: str) -> float:
        hand, joints = hands[name], FINGER_JOINTS[finger]
        return float(np.linalg.norm(hand[joints[-1]] - hand[0]) / np.linalg.norm(hand[joints[0]] - hand[0]))

    fingers = ("index", "middle", "ring", "little")
    assert min(reach("Flat", finger) for finger in fingers) > 1.7
    assert max(reach("Fist", finger) for finger in fingers) < 1.6
    assert reach("Point", "index") > 1.7 > reach("Point", "middle")
    for name in ("Pinch", "OK"):
        thumb_tip, index_tip = hands[name][[4, 8]]
        assert np.linalg.norm(thumb_tip - index_tip) < 0.15

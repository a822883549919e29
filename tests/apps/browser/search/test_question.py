"""Questions as values and as addresses, and the preset poses."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.browser.search.question import PRESETS, Question, make_preset, pose_keypoints, quantise_keypoints
from handsim.errors import HandsimError
from handsim.hand import MAX_HAND_ID
from handsim.skeleton import FINGER_JOINTS, JOINT_NAMES

_ids = st.integers(0, MAX_HAND_ID)
_poses = st.tuples(*[st.integers(-10_000, 10_000)] * 42)
_some = st.lists(_ids | _poses, max_size=3).map(tuple)
_at_least_one = st.lists(_ids | _poses, min_size=1, max_size=3).map(tuple)
_name = st.text(min_size=1).filter(lambda text: "\n" not in text)
_names = st.lists(_name, max_size=3, unique=True).map(tuple)
_subjects = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"hand": _ids}),
    st.fixed_dictionaries({"pose": _poses}),
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
    assert Question.from_params(question.to_params()) == (question, [])


def test_an_address_leaves_out_defaults_and_ignores_foreign_names() -> None:
    assert Question().to_params() == {}
    assert Question(hand=7).to_params() == {"hand": "0000000000000007"}
    assert Question.from_params({"hand": "0000000000000007", "utm": "x"}) == (Question(hand=7), [])


@pytest.mark.parametrize(
    ("params", "taken", "message"),
    [
        ({"hand": "xyz"}, {}, "There is no hand with the id 'xyz'"),
        ({"k": "many"}, {}, "k = 'many' in the address cannot be read, and is left out"),
        ({"k": "0"}, {"k": 1}, "k is 0 in the address; 1 is taken"),
        ({"k": "100000000"}, {"k": 200}, "200 is taken"),
        ({"side": "up"}, {}, "side = 'up'"),
        ({"other_video": "maybe"}, {}, "other_video = 'maybe'"),
        ({"pose": "1.2.3"}, {}, "A pose is 42 numbers"),
        ({"pose": ".".join(["99999"] * 42)}, {}, "A pose is 42 numbers from -10000 to 10000"),
        ({"like": "1_2_3"}, {}, "A pose is 42 numbers"),
        ({"max_distance": "nan"}, {}, "max_distance is nan"),
        ({"diversity": "nan"}, {}, "diversity is nan"),
        ({"diversity": "2"}, {"diversity": 1.0}, "diversity is 2.0 in the address; 1.0 is taken"),
        (
            {"diversity": "0.5", "one_per_video": "yes"},
            {"one_per_video": True},
            "does not go with One per video",
        ),
        ({"hand": "0000000000000007", "like": "0000000000000008"}, {"hand": 7}, "not about several at once"),
        ({"unlike": "0000000000000007"}, {}, "goes with 'more like these'"),
        ({"k": "5", "side": "up", "labels": "fist"}, {"k": 5, "labels": ("fist",)}, "side = 'up'"),
    ],
)
def test_of_an_address_all_is_taken_that_can_be_and_the_rest_is_named(
    params: dict[str, str], taken: dict[str, object], message: str
) -> None:
    question, (note,) = Question.from_params(params)
    assert question == Question(**taken)  # type: ignore[arg-type]  # each is of its field's type
    assert message in note


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
    pose = (0, 1) * 21
    drawn = Question(pose=pose)
    assert (drawn.with_mark(3, like=True).like, drawn.with_mark(3, like=True).pose) == ((pose, 3), None)
    assert drawn.with_mark(3, like=False).like == (pose,)
    assert drawn.with_mark(3, like=True).with_mark(pose, like=False).unlike == (pose,)
    assert Question() == Question().with_mark(3, like=False)
    with pytest.raises(HandsimError, match="At most 32 hands"):
        Question(like=tuple(range(1, 30)), unlike=(50, 51, 52)).with_mark(99, like=True)


def test_a_pose_is_rounded_to_thousandths() -> None:
    keypoints = np.random.default_rng(0).uniform(-0.2, 1.2, (21, 3))
    rounded = pose_keypoints(quantise_keypoints(keypoints))
    assert rounded.dtype == np.float32
    assert np.abs(rounded - keypoints[:, :2]).max() <= 0.5e-3 + 1e-6


def test_conditions_are_what_leaves_hands_out() -> None:
    question = Question(hand=1, other_video=True, side="left", max_distance=0.5)
    assert question.conditions == ["other_video", "side", "max_distance"]
    assert question.without("side").conditions == ["other_video", "max_distance"]
    assert Question(hand=1, other_video=False).conditions == []
    assert Question(pose=(0, 1) * 21).conditions == []  # of no video
    assert Question(like=((0, 1) * 21, 5)).conditions == ["other_video"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lies_upright_within_the_crop(name: str) -> None:
    hand = pose_keypoints(make_preset(name))
    assert 0.05 < hand.min() < hand.max() < 0.95
    assert hand[0, 1] == hand[:, 1].max()  # the wrist is lowest
    thumb = JOINT_NAMES.index("thumb_cmc")
    assert hand[thumb, 0] > hand[0, 0]  # a right hand's palm has the thumb on the right


def test_presets_have_the_pose_of_their_name() -> None:
    hands = {name: pose_keypoints(make_preset(name)) for name in PRESETS}

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

"""Trials, and the addresses that describe them."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apps.browser.mining.policy import MOST_RANKS, SAMPLES, MiningTrial, as_recipe, conditions, without
from handsim.errors import HandsimError
from index import MiningPolicy
from index.mining import DEFAULT_POLICY

RANKS = st.lists(st.integers(1, MOST_RANKS), min_size=2, max_size=2).map(sorted)
POLICIES = st.builds(
    lambda ranks, other, one, far: MiningPolicy(ranks[1], ranks[0], other, one, far),
    RANKS,
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
)
TRIALS = st.builds(MiningTrial, POLICIES, st.sampled_from(SAMPLES), st.integers(0, 9999))


@given(TRIALS)
def test_a_trial_survives_its_address(trial: MiningTrial) -> None:
    assert MiningTrial.from_params(trial.as_params()) == trial


def test_an_address_has_only_what_differs_from_the_defaults() -> None:
    assert MiningTrial().as_params() == {}
    assert MiningTrial.from_params({}) == MiningTrial(DEFAULT_POLICY)
    params = MiningTrial(MiningPolicy(4, 2, False, True, 0.25), 500, 7).as_params()
    assert params == {
        "top_k": "4",
        "first_rank": "2",
        "other_video": "no",
        "one_per_video": "yes",
        "max_distance": "0.25",
        "sample": "500",
        "seed": "7",
    }


def test_a_first_rank_alone_is_one_rank() -> None:
    assert MiningTrial.from_params({"first_rank": "3"}).policy == MiningPolicy(top_k=3, first_rank=3)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"top_k": "many"}, "the address has top_k = 'many', which cannot be read"),
        ({"other_video": "perhaps"}, "other_video = 'perhaps'"),
        ({"max_distance": "far" * 100}, r"max_distance = '(far){13}f'"),
        ({"max_distance": "nan"}, "max_distance is nan"),
        ({"top_k": "2", "first_rank": "3"}, "ranks 3 to 2 cannot be mined"),
        ({"top_k": "33"}, "top_k is 33; ranks up to 32"),
        ({"sample": "501"}, "sample is 501; a policy is tried on 500, 2000, 10000 hands"),
        ({"seed": "-1"}, "seed is -1"),
        ({"seed": "10000"}, "seed is 10000"),
    ],
)
def test_addresses_that_say_something_else(params: dict[str, str], why: str) -> None:
    with pytest.raises(HandsimError, match=why):
        MiningTrial.from_params(params)


def test_other_hands() -> None:
    trial = MiningTrial(MiningPolicy(3), 500, 9999)
    assert trial.of_other_hands() == MiningTrial(MiningPolicy(3), 500, 0)


def test_conditions_left_out_one_by_one() -> None:
    policy = MiningPolicy(top_k=5, first_rank=2, one_per_video=True, max_distance=0.5)
    left = conditions(policy)
    assert left == ["other_video", "one_per_video", "first_rank", "max_distance"]
    for condition in left:
        policy = without(policy, condition)
    assert policy == MiningPolicy(top_k=5, other_video=False)
    assert conditions(policy) == []


@given(POLICIES)
def test_a_recipe_says_the_same(policy: MiningPolicy) -> None:
    read = yaml.safe_load(as_recipe(policy))
    assert read["pairs"]["positives"] == "neighbours"
    policy_settings = read["pairs"]["policy"]
    if policy_settings["max_distance"] is not None:
        policy_settings["max_distance"] = float(
            policy_settings["max_distance"]
        )  # YAML 1.1 takes 1e-05 for a word
    assert MiningPolicy(**policy_settings) == policy

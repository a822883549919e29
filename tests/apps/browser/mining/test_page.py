"""The page Mining: policies as addresses and recipes, controls, figures and examples."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from apps.browser.mining.page import _METRICS
from apps.browser.mining.policy import MOST_RANKS, SAMPLES, MiningTrial, as_recipe, conditions, without
from apps.cli import main
from index import MiningPolicy
from index.mining import DEFAULT_POLICY
from tests.apps.browser.conftest import Visit, address, press, read_heading
from tests.index.builders import write_pool

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("label", "value", "before", "text"),
    [
        ("With a match", 0.952, 0.951, "+0.1 points"),
        ("With a match", 0.9, 0.951, "-5.1 points"),
        ("With a match", 0.95101, 0.951, 0),
        ("With a match", 0.0745, 0.99951, "-92.5 points"),
        ("Nearer than random", 1.24, 1.06, "+0.1×"),
        ("Pose distance", 0.1, 0.15, "-0.050"),
        ("Pose distance", 0.1, None, None),
        ("Most chosen", 12, 9, "+3"),
        ("Most chosen", 9, 9, 0),
    ],
)
def test_a_change_is_that_of_the_rounded_figures(
    label: str, value: float, before: float | None, text: str | int | None
) -> None:
    (metric,) = (each for each in _METRICS if each.label == label)
    assert metric.change(value, before) == text


def figure(page: AppTest, label: str) -> tuple[str, str]:
    """A figure's value, and its change."""
    (found,) = (each for each in page.metric if each.label == label)
    return found.value, found.delta


def test_the_page_begins_with_the_default_policy_and_has_panels(visit: Visit, home: Path) -> None:
    page = visit(home, "mining")
    assert read_heading(page, "mining_found").startswith("60 hands of 60")
    assert figure(page, "With a match") == ("100.0 %", "")
    assert figure(page, "Of another video") == ("100.0 %", "")
    assert page.slider(key="mining_ranks").value == (1, 1)
    assert not page.warning
    page.button_group(key="look").set_value("Without a match").run()
    assert page.success[0].value == "Each hand has a match under this policy."
    page.button_group(key="look").set_value("Most chosen").run()
    assert "distinct matches are chosen 60 times" in "".join(block.value for block in page.markdown)
    page.button_group(key="look").set_value("Pairs").run()
    for order in ("best", "random"):
        page.button_group(key="order").set_value(order).run()
    page.button_group(key="weights").set_value("sigmoid").run()


def test_a_changed_control_is_in_the_address_and_beside_the_default(visit: Visit, home: Path) -> None:
    page = visit(home, "mining")
    nearest = float(figure(page, "Pose distance")[0])
    page.slider(key="mining_ranks").set_value((3, 6)).run()
    assert address(page) == {"top_k": "6", "first_rank": "3"}
    assert "changes against the default policy" in read_heading(page, "mining_found")
    further, change = figure(page, "Pose distance")
    assert float(change) == pytest.approx(float(further) - nearest, abs=0.0011)
    assert float(change) > 0
    page.toggle(key="mining_other_video").set_value(False).run()
    page.button_group(key="mining_against").set_value("before").run()
    assert "changes against the policy before" in read_heading(page, "mining_found")
    share, change = figure(page, "Of another video")
    assert change == f"{float(share[:-1]) - 100:.1f} points"
    assert address(page)["other_video"] == "no"


def test_a_link_reproduces_a_trial_and_buttons_lead_on(visit: Visit, home: Path) -> None:
    page = visit(
        home, "mining", first_rank="2", top_k="5", one_per_video="yes", max_distance="9", sample="500"
    )
    assert page.slider(key="mining_ranks").value == (2, 5)
    assert page.toggle(key="mining_one_per_video").value
    assert page.number_input(key="mining_max_distance").value == 9
    assert "first_rank: 2" in page.code[0].value
    press(page, "Other hands")
    assert address(page)["seed"] == "1"
    press(page, "Back to the default")
    assert address(page) == {"sample": "500", "seed": "1"}


def test_a_limit_begins_where_most_pairs_lie_within(visit: Visit, home: Path) -> None:
    page = visit(home, "mining")
    page.toggle(key="mining_capped").set_value(True).run()
    cap = page.number_input(key="mining_max_distance").value
    assert address(page) == {"max_distance": str(cap)}
    assert figure(page, "With a match")[0] == "95.0 %"
    page.toggle(key="mining_capped").set_value(False).run()
    assert address(page) == {}


def test_without_any_positive_the_page_offers_what_to_leave_out(visit: Visit, home: Path) -> None:
    page = visit(home, "mining", max_distance="0.0")
    assert page.warning[0].value == "No hand of the sample has a match under this policy."
    assert "**60 of 60** hands have no match" in "".join(text.value for text in page.markdown)
    press(page, "Leave out “the distance limit”: 100.0 % of them would have one")
    assert not page.warning
    assert address(page) == {}


def test_a_pool_of_one_video_is_explained(visit: Visit, tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", videos=1)
    assert main(["index", "build", "--home", str(tmp_path)]) == 0
    page = visit(tmp_path, "mining")
    assert page.warning
    captions = " ".join(caption.value for caption in page.caption)
    assert "All hands of this pool are of one video, video 0," in captions
    press(page, "Leave out “other videos only”: 100.0 % of them would have one")
    assert not page.warning


POLICIES = st.builds(
    lambda ranks, *others: MiningPolicy(max(ranks), min(ranks), *others),
    st.tuples(*[st.integers(1, MOST_RANKS)] * 2),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.booleans(),
)


@given(st.builds(MiningTrial, POLICIES, st.sampled_from(SAMPLES), st.integers(0, 9999)))
def test_a_trial_survives_its_address(trial: MiningTrial) -> None:
    assert MiningTrial.from_params(trial.as_params()) == (trial, [])


def test_an_address_has_only_what_differs_from_the_defaults() -> None:
    assert MiningTrial().as_params() == {}
    assert MiningTrial.from_params({}) == (MiningTrial(DEFAULT_POLICY), [])
    assert MiningTrial.from_params({"first_rank": "3"})[0].policy == MiningPolicy(top_k=3, first_rank=3)
    assert MiningTrial(MiningPolicy(4, 2, False, True, 0.25), 500, 7).as_params() == {
        "top_k": "4",
        "first_rank": "2",
        "other_video": "no",
        "one_per_video": "yes",
        "max_distance": "0.25",
        "sample": "500",
        "seed": "7",
    }


@pytest.mark.parametrize(
    ("params", "taken", "why"),
    [
        ({"top_k": "many"}, {}, "top_k = 'many' cannot be read. The address's top_k is left out."),
        ({"other_video": "perhaps"}, {}, "other_video = 'perhaps'"),
        ({"max_distance": "far" * 100}, {}, "max_distance = 'farfarfarfarfarfarfarfarfarfarfarfarfarf'"),
        ({"max_distance": "nan"}, {}, "max_distance is nan"),
        ({"top_k": "33"}, {"top_k": "32"}, "top_k is 33 in the address; 32 is taken."),
        ({"top_k": "0"}, {}, "top_k is 0 in the address; 1 is taken."),
        ({"sample": "501"}, {"sample": "500"}, "sample is 501 in the address; 500 is taken."),
        ({"seed": "-1"}, {}, "seed is -1 in the address; 0 is taken."),
        ({"seed": "10000", "top_k": "2"}, {"seed": "9999", "top_k": "2"}, "seed is 10000"),
    ],
)
def test_of_an_address_all_is_taken_that_can_be_and_the_rest_is_named(
    params: dict[str, str], taken: dict[str, str], why: str
) -> None:
    trial, (note,) = MiningTrial.from_params(params)
    assert trial.as_params() == taken
    assert why in note


def test_each_condition_can_be_left_out() -> None:
    policy = MiningPolicy(top_k=5, first_rank=2, one_per_video=True, max_distance=0.5)
    left = conditions(policy)
    without_copies = ["min_distance", "keep_duplicates"]
    assert left == ["other_video", "one_per_video", "first_rank", "max_distance", *without_copies]
    for condition in left:
        policy = without(policy, condition)
    assert policy == MiningPolicy(top_k=5, other_video=False, min_distance=0.0, keep_duplicates=True)
    assert conditions(policy) == []


@given(POLICIES)
def test_a_recipe_has_the_policy(policy: MiningPolicy) -> None:
    read = yaml.safe_load(as_recipe(policy))
    assert read["pairs"]["positives"] == "neighbours"
    assert MiningPolicy(**read["pairs"]["policy"]) == policy

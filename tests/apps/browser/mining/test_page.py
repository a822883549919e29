"""The page Mining: controls, figures and examples."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.mining.page import _METRICS
from apps.cli import main
from tests.apps.browser.conftest import Visit
from tests.index.builders import write_pool


@pytest.mark.parametrize(
    ("label", "value", "before", "text"),
    [
        ("With a positive", 0.952, 0.951, "0.1 points"),
        ("With a positive", 0.9, 0.951, "-5.1 points"),
        ("With a positive", 0.95101, 0.951, 0),
        ("With a positive", 0.0745, 0.99951, "-92.6 points"),
        ("Nearer than random", 1.24, 1.06, "0.1×"),
        ("Pose distance", 0.1, 0.15, "-0.050"),
        ("Pose distance", 0.1, None, None),
        ("Most chosen", 12, 9, "3"),
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


def address(page: AppTest) -> dict[str, str]:
    """What it says; a value comes as a text or as a list of one."""
    return {name: "".join(value) for name, value in page.query_params.items()}


def test_it_begins_with_the_default_policy(visit: Visit, home: Path) -> None:
    page = visit(home, "mining")
    assert not page.exception
    assert page.markdown[0].value.startswith("**60 hands** of 60 :gray")
    assert figure(page, "With a positive") == ("100.0%", "")
    assert figure(page, "Of another video") == ("100.0%", "")
    assert page.slider(key="mining_ranks").value == (1, 1)
    assert not page.warning


def test_a_changed_control_is_in_the_address_and_beside_the_default(visit: Visit, home: Path) -> None:
    page = visit(home, "mining")
    nearest = float(figure(page, "Pose distance")[0])
    page.slider(key="mining_ranks").set_value((3, 6)).run()
    assert address(page) == {"top_k": "6", "first_rank": "3"}
    assert "changes against the **default policy**" in page.markdown[0].value
    further, change = figure(page, "Pose distance")
    assert float(change) == pytest.approx(float(further) - nearest, abs=0.0011)
    assert float(change) > 0
    page.toggle(key="mining_other_video").set_value(False).run()
    page.button_group(key="mining_against").set_value("before").run()
    assert "changes against the **policy before**" in page.markdown[0].value
    share, change = figure(page, "Of another video")
    assert change == f"{float(share[:-1]) - 100:.1f} points"
    assert address(page)["other_video"] == "no"


def test_a_link_reproduces_it(visit: Visit, home: Path) -> None:
    page = visit(
        home, "mining", first_rank="2", top_k="5", one_per_video="yes", max_distance="9", sample="500"
    )
    assert not page.exception
    assert page.slider(key="mining_ranks").value == (2, 5)
    assert page.toggle(key="mining_one_per_video").value
    assert page.number_input(key="mining_max_distance").value == 9
    assert "first_rank: 2" in page.code[0].value


def test_a_limit_begins_where_most_pairs_lie_within(visit: Visit, home: Path) -> None:
    page = visit(home, "mining")
    page.toggle(key="mining_capped").set_value(True).run()
    cap = page.number_input(key="mining_max_distance").value
    assert address(page) == {"max_distance": str(cap)}
    assert figure(page, "With a positive")[0] == "95.0%"
    page.toggle(key="mining_capped").set_value(False).run()
    assert address(page) == {}


def test_other_hands_and_the_default_policy(visit: Visit, home: Path) -> None:
    page = visit(home, "mining", top_k="4")
    buttons = {button.label: button for button in page.button}
    buttons["Other hands"].click().run()
    assert address(page) == {"top_k": "4", "seed": "1"}
    buttons = {button.label: button for button in page.button}
    buttons["Back to the default"].click().run()
    assert address(page) == {"seed": "1"}


def test_panels(visit: Visit, home: Path) -> None:
    page = visit(home, "mining")
    for panel in ("Without a positive", "Most chosen", "Pairs"):
        page.button_group(key="mining_panel").set_value(panel).run()
        assert not page.exception
        if panel == "Without a positive":
            assert page.success[0].value == "All 60 hands have a positive under this policy."
    for order in ("best", "random"):
        page.button_group(key="mining_order").set_value(order).run()
        assert not page.exception
    page.button_group(key="mining_weights").set_value("sigmoid").run()
    assert not page.exception


def test_no_positive_at_all_and_the_way_out(visit: Visit, home: Path) -> None:
    page = visit(home, "mining", max_distance="0.0")
    assert page.warning[0].value == "No hand of the sample has a positive under this policy."
    assert page.markdown[0].value.startswith("**60 of 60** hands have no positive")
    (way_out,) = (button for button in page.button if button.label.startswith("Leave out"))
    assert way_out.label == "Leave out “the distance limit”: 100% of them would have one"
    way_out.click().run()
    assert not page.warning
    assert address(page) == {}


def test_one_video_says_so(visit: Visit, tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", videos=1)
    assert main(["index", "build", "--home", str(tmp_path)]) == 0
    page = visit(tmp_path, "mining")
    assert page.warning
    captions = [caption.value for caption in page.caption]
    assert any("All hands of this pool are of one video, video 0," in each for each in captions)
    (way_out,) = (button for button in page.button if button.label.startswith("Leave out"))
    assert way_out.label == "Leave out “other videos only”: 100% of them would have one"


def test_an_address_that_cannot_be_read(visit: Visit, home: Path) -> None:
    page = visit(home, "mining", top_k="many")
    assert "cannot be read" in page.error[0].value
    assert not page.exception


def test_no_index_yet(visit: Visit, tmp_path: Path) -> None:
    page = visit(tmp_path, "mining")
    assert not page.exception
    assert "Not there yet" in page.info[0].value

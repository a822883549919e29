"""The map page without a web browser: what needs no canvas."""

import re
import sys
from pathlib import Path

import pytest

from apps.browser.jobs import JobReporter, Jobs
from apps.browser.map.build import JOB, PHASES
from apps.browser.map.pose_map import map_file
from apps.browser.map.view import format_outline
from apps.browser.search.question import make_preset
from handsim import Pool
from handsim.home import Home
from index import open_catalog
from tests.apps.browser.builders import build_version, more_hands, put_map
from tests.apps.browser.conftest import Visit, address, press
from tests.apps.commands import pick_hand
from tests.apps.conftest import copy_home

pytestmark = pytest.mark.slow

EVERYWHERE = ((-0.1, -0.1), (1.1, -0.1), (1.1, 1.1), (-0.1, 1.1))
NOWHERE = ((2.0, 2.0), (3.0, 2.0), (3.0, 3.0))


@pytest.fixture(scope="module")
def mapped(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small home with a map."""
    path = copy_home(home, tmp_path_factory.mktemp("mapped") / "home")
    put_map(path)
    return path


def test_without_a_map_the_page_offers_one_and_reports_why_it_cannot_be_made(
    visit: Visit, own_home: Path
) -> None:
    (own_home / "maps").write_text("in the way")
    page = visit(own_home, "map", actions=False)
    assert "No map of index v0001 yet" in page.info[0].value
    assert page.button[0].label == "Make the map"
    page.button[0].click().run()
    assert "the map cannot be made: File exists" in page.error[0].value.replace("\\", "")
    assert not page.run().error


def test_the_job_shows_its_phases_and_can_be_stopped(visit: Visit, own_home: Path) -> None:
    jobs = Jobs(Home(own_home).jobs)
    jobs.start(JOB, [sys.executable, "-c", "import time; time.sleep(600)"])
    reporter = JobReporter(jobs.folder, JOB)
    reporter.begin_phase(PHASES[1])
    page = visit(own_home, "map")
    lines = [line.value for line in page.markdown]
    assert "The map is being made" in lines[0]
    assert [phase in line for phase, line in zip(PHASES, lines[1:], strict=False)] == [True] * len(PHASES)
    assert f"**{PHASES[1]}**" in lines[2]
    press(page, "Stop")
    page.run()
    assert "was stopped: fitting the map" in page.info[1].value
    assert page.button[0].label == "Make the map"


def test_every_colour_can_be_chosen_and_what_the_map_lacks_is_said(visit: Visit, mapped: Path) -> None:
    page = visit(mapped, "map", hand=pick_hand(mapped))
    assert not page.caption
    colours = page.selectbox(key="colour")
    assert colours.value == "label"
    for colour in ("video", "side", "score", "distance", "query"):
        colours.set_value(colour).run()
    assert not page.select_slider  # all of sixty hands are drawn
    for hand, sentence in (("00000000000003e7", "is not on this map"), ("<b>x", "an id has 16 hex digits")):
        page.query_params["hand"] = hand
        page.run()
        assert any(sentence in note.value for note in (*page.caption, *page.warning))


def test_the_question_of_search_is_shown_with_its_conditions_and_goes_back(
    visit: Visit, mapped: Path
) -> None:
    question = {"hand": pick_hand(mapped), "k": "7", "side": "left"}
    page = visit(mapped, "map", **question)
    counts = re.match(r"\*\*(\d+) of 60 hands\*\* meet the conditions", page.markdown[0].value)
    assert counts is not None
    assert 0 < int(counts[1]) < 60
    assert "**7 results** of the query" in page.markdown[0].value
    page.pills(key="condition_side").set_value("right").run()
    assert address(page) == {**question, "side": "right"}
    press(page, "Results")
    assert address(page) == {**question, "side": "right"}
    assert page.pills(key="condition_side").value == "right"


def test_a_pose_is_marked_at_the_hand_nearest_to_it(visit: Visit, mapped: Path) -> None:
    page = visit(mapped, "map", pose=".".join(map(str, make_preset("Fist"))))
    assert "its mark is at the hand nearest to it" in page.caption[0].value
    assert "results** of the query" in page.markdown[0].value
    page.selectbox(key="colour").set_value("query").run()
    press(page, "Clear query")
    assert page.selectbox(key="colour").value == "label"
    assert "pose" not in address(page)
    assert not page.caption


def test_of_many_hands_within_an_outline_some_are_shown(
    visit: Visit, mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.browser.map.page._MAX_CARDS", 10)
    page = visit(mapped, "map")
    checksum = open_catalog(mapped / "index").current_info().checksum

    def draw(outline: tuple[tuple[float, float], ...]) -> str:
        page.query_params["outline"] = format_outline(checksum, outline)
        return str(page.run().markdown[1].value)

    assert "10 shown" in draw(EVERYWHERE)
    page.segmented_control(key="shown").set_value("random").run()
    assert "**No hand** lies within" in draw(NOWHERE)
    page.query_params["side"] = "left"
    left = int(Pool.open(mapped / "pool").is_left.sum())
    assert f"**{left} hands**" in draw(EVERYWHERE)  # those that meet the conditions


def test_a_view_or_an_outline_that_is_not_of_this_map_is_left_out_and_said(
    visit: Visit, mapped: Path
) -> None:
    other = format_outline("of another map", EVERYWHERE)
    for outline, sentence in (
        (other, "was drawn on another map"),
        (f"{other}_5", "cannot be read"),
        ("x", "cannot be read"),
    ):
        page = visit(mapped, "map", outline=outline)
        assert sentence in page.warning[0].value
    assert "the whole map is shown" in visit(mapped, "map", view="1_2_3").warning[0].value
    assert not visit(mapped, "map", view="0.5123_0.3330_2.10").warning


def test_a_damaged_map_is_reported_and_can_be_made_again(visit: Visit, own_home: Path) -> None:
    file = map_file(own_home / "maps", put_map(own_home))
    file.write_bytes(file.read_bytes()[:300])
    page = visit(own_home, "map")
    assert "make the map again" in page.warning[0].value
    assert page.button[0].label == "Make the map"


def test_a_version_has_the_map_of_an_earlier_one_with_the_same_hands(visit: Visit, own_home: Path) -> None:
    put_map(own_home)
    page = visit(own_home, "map")
    assert "index v0001" in page.markdown[0].value
    build_version(own_home)
    assert "index v0002" in page.run().markdown[0].value
    more_hands(own_home)
    build_version(own_home)
    page.selectbox(key="colour").set_value("video").run()
    assert "No map of index v0003 yet" in page.info[0].value
    put_map(own_home)
    assert "index v0003" in page.run().markdown[0].value

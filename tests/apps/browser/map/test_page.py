"""The map page without a web browser: what needs no canvas."""

from pathlib import Path

import pytest

from apps.browser.map.pose_map import map_file
from index import open_catalog
from tests.apps.browser.builders import build_version, put_map
from tests.apps.browser.conftest import Visit
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


def test_every_colour_can_be_chosen_and_an_unknown_hand_is_reported(visit: Visit, mapped: Path) -> None:
    page = visit(mapped, "map", hand=pick_hand(mapped))
    assert not page.caption
    colours = page.segmented_control(key="colour")
    assert colours.value == "label"
    for colour in ("source", "video", "distance"):
        colours.set_value(colour).run()
    assert not page.select_slider  # all of sixty hands are drawn
    for hand in ("00000000000003e7", "<b>x"):
        page.query_params["hand"] = hand
        page.run()
        assert "is not on this map" in page.caption[0].value


def test_of_many_hands_within_an_outline_some_are_shown(
    visit: Visit, mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.browser.map.page._MAX_CARDS", 10)
    page = visit(mapped, "map")
    info = open_catalog(mapped / "index").current_info()
    name = info.name, info.checksum
    page.session_state["map_outline"] = (*name, EVERYWHERE)
    page.run()
    assert "10 shown" in page.markdown[1].value
    page.segmented_control(key="map_choice").set_value("random").run()
    page.session_state["map_outline"] = (*name, NOWHERE)
    page.run()
    assert "**No hand** lies within" in page.markdown[1].value


def test_a_damaged_map_is_reported_and_can_be_made_again(visit: Visit, own_home: Path) -> None:
    file = map_file(own_home / "maps", put_map(own_home))
    file.write_bytes(file.read_bytes()[:300])
    page = visit(own_home, "map")
    assert "make the map again" in page.warning[0].value
    assert page.button[0].label == "Make the map"


def test_a_new_version_needs_a_map_of_its_own(visit: Visit, own_home: Path) -> None:
    put_map(own_home)
    page = visit(own_home, "map")
    assert "index v0001" in page.markdown[0].value
    build_version(own_home)
    page.segmented_control(key="colour").set_value("source").run()
    assert "No map of index v0002 yet" in page.info[0].value
    put_map(own_home)
    assert "index v0002" in page.run().markdown[0].value

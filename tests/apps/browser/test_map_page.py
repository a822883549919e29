"""The map page, as a visitor meets it; what only a canvas has is tried in a real browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.map.pose_map import map_file
from apps.cli import main
from handsim.home import Home
from index import open_catalog
from tests.apps.browser.conftest import Visit
from tests.apps.browser.map.some_maps import put_map
from tests.apps.commands import pick_hand
from tests.apps.conftest import copy_home

WHOLE = ((-0.1, -0.1), (1.1, -0.1), (1.1, 1.1), (-0.1, 1.1))


@pytest.fixture(scope="module")
def mapped(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small home with a map."""
    path = copy_home(home, tmp_path_factory.mktemp("mapped") / "home")
    put_map(path)
    return path


def draw_around(page: AppTest, home: Path, outline: tuple[tuple[float, float], ...]) -> None:
    """What the lasso comes down to."""
    with open_catalog(home / "index").current() as version:
        page.session_state["map_outline"] = (version.info.name, version.info.checksum, outline)
    page.run()


def test_without_a_map_one_is_offered(visit: Visit, home: Path) -> None:
    page = visit(home, "map", actions=False)
    assert not page.exception
    assert "No map of index v0001 yet" in page.info[0].value
    assert page.button[0].label == "Make the map"
    assert not page.button[0].disabled


def test_a_folder_that_cannot_be_written_is_told(visit: Visit, own_home: Path) -> None:
    (own_home / "maps").write_text("in the way")
    page = visit(own_home, "map")
    page.button[0].click().run()
    assert not page.exception
    assert "cannot be written" in page.error[0].value
    assert not page.run().error


def test_a_map_and_its_colours(visit: Visit, mapped: Path) -> None:
    page = visit(mapped, "map")
    assert not page.exception
    assert "**60 hands**" in page.markdown[0].value
    colours = page.segmented_control(key="colour")
    assert colours.value == "label"
    for colour in ("source", "video", "distance"):
        colours.set_value(colour).run()
        assert not page.exception
    assert not page.select_slider  # sixty hands are drawn all


def test_the_hand_in_the_address(visit: Visit, mapped: Path) -> None:
    known = visit(mapped, "map", hand=pick_hand(mapped))
    assert not known.exception
    assert not known.caption
    unknown = visit(mapped, "map", hand="00000000000003e7")
    assert "Hand 00000000000003e7 is not on this map" in unknown.caption[0].value
    odd = visit(mapped, "map", hand="<b>x")
    assert not odd.exception
    assert "is not on this map" in odd.caption[0].value


def test_what_was_drawn_around_is_gathered_and_put_away(visit: Visit, mapped: Path) -> None:
    page = visit(mapped, "map")
    draw_around(page, mapped, WHOLE)
    assert not page.exception
    assert "**60 hands** of 12 videos" in page.markdown[1].value
    draw_around(page, mapped, ((2, 2), (3, 2), (3, 3)))
    assert "**No hand** lies within" in page.markdown[1].value
    page.button[0].click().run()
    assert len(page.markdown) == 1
    other = visit(mapped, "map")
    assert len(other.markdown) == 1  # what one visitor drew is nobody else's


def test_of_many_hands_some_are_shown(visit: Visit, mapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.browser.map.page.MOST_CARDS", 10)
    page = visit(mapped, "map")
    draw_around(page, mapped, WHOLE)
    assert "10 shown" in page.markdown[1].value
    page.segmented_control(key="map_choice").set_value("random").run()
    assert not page.exception


def test_a_damaged_map_is_told_and_can_be_made_anew(visit: Visit, own_home: Path) -> None:
    info = put_map(own_home)
    file = map_file(Home(own_home).path / "maps", info)
    file.write_bytes(file.read_bytes()[:300])
    page = visit(own_home, "map")
    assert not page.exception
    assert "make it anew" in page.warning[0].value
    assert page.button[0].label == "Make the map"


def test_another_version_has_another_map(visit: Visit, own_home: Path) -> None:
    put_map(own_home)
    page = visit(own_home, "map")
    assert "index v0001" in page.markdown[0].value
    assert main(["index", "build", "--home", str(own_home)]) == 0
    page.segmented_control(key="colour").set_value("source").run()
    assert not page.exception
    assert "No map of index v0002 yet" in page.info[0].value
    put_map(own_home)
    assert "index v0002" in page.run().markdown[0].value


def test_a_home_without_an_index(visit: Visit, own_home: Path) -> None:
    (own_home / "index").rename(own_home / "away")
    page = visit(own_home, "map")
    assert not page.exception
    assert "Not there yet" in page.info[0].value

"""The tray as it is drawn, without a web browser."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from handsim import Pool
from handsim.home import Home
from handsim.lists import LEFT_OUT, HandLists
from tests.apps.browser.conftest import Visit, address, press


def buttons(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def choose_list(visit: Visit, home: Path, size: int, page: str = "", **options: object) -> AppTest:
    """A page whose visitor has chosen the hands of a list."""
    HandLists(Home(home).lists).create("some", Pool.open(home / "pool").hand_ids[:size])
    visitor = visit(home, page, **options)
    press(visitor, "Choose its hands")
    return visitor


def test_nothing_is_offered_while_there_is_nothing_to_choose_or_undo(visit: Visit, own_home: Path) -> None:
    assert not {"Undo", "Clear", "More like these"} & {*buttons(visit(own_home))}
    page = choose_list(visit, own_home, 3, page="index")
    assert {"Undo", "Clear", "More like these", "Save 3 hands as a list"} <= {*buttons(page)}
    press(page, "Clear")
    assert "More like these" not in buttons(page)
    press(page, "Undo")
    assert "Save 3 hands as a list" in buttons(page)


def test_chosen_hands_are_saved_left_out_of_training_and_undone(visit: Visit, own_home: Path) -> None:
    page, lists = choose_list(visit, own_home, 4), HandLists(Home(own_home).lists)
    page.text_input(key="tray_list_name").set_value("../x").run()
    press(page, "Save 4 hands as a list")
    assert page.toast[0].value.replace("\\", "").startswith("a list cannot be named '../x'")
    page.text_input(key="tray_list_name").set_value("fists").run()
    press(page, "Save 4 hands as a list")
    press(page, f"Add 4 hands to {LEFT_OUT}")
    for name in ("fists", LEFT_OUT):
        assert lists.read(name).hand_ids.tolist() == lists.read("some").hand_ids.tolist()
    assert f"pretrain simhand --exclude-list {LEFT_OUT}" in " ".join(code.value for code in page.code)
    press(page, "Undo")
    assert lists.names() == ["fists", "some"]
    press(page, "Undo")
    assert lists.names() == ["some"]


def test_chosen_hands_become_examples_of_a_search(visit: Visit, own_home: Path) -> None:
    page = choose_list(visit, own_home, 3, page="index")
    assert next(button for button in page.button if button.label == "Less like these").disabled
    press(page, "More like these")
    assert address(page)["like"].count(".") == 2


def test_too_many_chosen_hands_are_no_examples(visit: Visit, own_home: Path) -> None:
    page = choose_list(visit, own_home, 40)
    more = next(button for button in page.button if button.label == "More like these")
    assert more.disabled
    assert more.help == "Search takes at most 32 examples"


def test_a_browser_that_only_reads_says_so_and_writes_no_list(visit: Visit, own_home: Path) -> None:
    page = choose_list(visit, own_home, 3, actions=False)
    assert any("no list can be written" in caption.value for caption in page.caption)
    assert not [label for label in buttons(page) if label.startswith(("Save", "Add", "Take off it"))]
    assert not Home(own_home).trays.exists()

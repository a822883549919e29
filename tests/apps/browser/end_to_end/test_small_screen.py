"""The pages on a small screen: the drawer, what stands still, the sheet; how much fits on a larger one."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.apps.browser.end_to_end.test_search import answers, beginnings, hand_of, query
from tests.apps.commands import pick_hand


@pytest.fixture
def phone(page: Page) -> Page:
    page.set_viewport_size({"width": 390, "height": 844})
    return page


def top(locator: Locator) -> float:
    box = locator.bounding_box()
    assert box is not None
    return box["y"]


def test_the_drawer_closes_once_a_page_is_chosen(phone: Page, site: str) -> None:
    phone.goto(site)
    expect(beginnings(phone)).to_have_count(24)
    drawer = phone.get_by_test_id("stSidebar")
    expect(drawer).to_be_hidden()  # with all that could take the focus
    for name in ("Index", "Index"):  # another page, and the same one again
        phone.get_by_role("button", name="Expand sidebar").click()
        drawer.get_by_role("link", name=name).click()
        expect(drawer).to_be_hidden()
    title = phone.get_by_role("heading", name="Index", level=1)
    expect(title).to_be_focused()
    expect(title).to_be_in_viewport()


def test_answers_come_first_and_the_query_stays_in_sight(phone: Page, site: str, home: Path) -> None:
    phone.goto(f"{site}/?hand={pick_hand(home)}&stacked=no")
    expect(answers(phone)).to_have_count(24)
    expect(answers(phone).first).to_be_in_viewport(ratio=1)
    last = answers(phone).last
    last.scroll_into_view_if_needed()
    expect(query(phone).first).to_be_in_viewport(ratio=1)
    chosen = hand_of(last)
    last.locator("button.frame").click()
    expect(query(phone).first).to_contain_text(chosen)
    found = phone.get_by_role("heading", name="24 hands of")
    expect(found).to_be_focused()
    expect(found).to_be_in_viewport()
    expect(query(phone).first).to_be_in_viewport(ratio=1)


def test_conditions_lie_in_a_sheet_which_closes_by_a_click_beside_it(
    phone: Page, site: str, home: Path
) -> None:
    phone.goto(f"{site}/?hand={pick_hand(home)}&stacked=no")
    expect(answers(phone)).to_have_count(24)
    opener = phone.get_by_role("button", name="Conditions")
    control = phone.get_by_text("One per video", exact=True)
    expect(control).to_be_hidden()
    opener.click()
    expect(control).to_be_in_viewport(ratio=1)
    control.click()
    expect(answers(phone)).to_have_count(11)
    expect(control).to_be_visible()  # the answers changed behind it
    answers(phone).last.locator("img").click()
    expect(control).to_be_hidden()


def test_a_card_is_named_by_what_it_shows_and_its_id_comes_last(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=3&stacked=no")
    for card in answers(page).all():
        name = card.locator("button.frame").get_attribute("aria-label") or ""
        distance, *lines = card.locator("figcaption > *").all_inner_texts()
        assert name == f"{', '.join([distance, *lines])}. Search from hand {hand_of(card)}"
        assert distance.startswith("distance ")
    assert query(page).locator("figcaption > *").last.inner_text() == pick_hand(home)


def test_all_above_the_answers_fits_into_one_row(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}")
    found = page.get_by_role("heading", name="24 hands of")
    expect(found).to_be_visible()
    for name in ("CSV", "Montage"):
        expect(page.get_by_role("button", name=name)).to_be_visible()
        assert abs(top(page.get_by_role("button", name=name)) - top(found)) < 30

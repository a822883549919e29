"""Choosing hands in a real web browser: mouse, keyboard, lasso, reloads, undo, files."""

import csv
import io
import re
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Locator, Page, expect

from apps.browser.serve import run_server
from handsim.home import Home
from handsim.lists import LEFT_OUT, HandLists
from tests.apps.browser.end_to_end.test_map import draw_around_all, open_map, wait_for_redraw
from tests.apps.browser.end_to_end.test_search import answers, beginnings, hand_of, query
from tests.apps.commands import pick_hand


def tray(page: Page) -> Locator:
    return page.locator(".st-key-tray")


def expect_chosen(page: Page, count: int) -> None:
    expect(tray(page).get_by_role("status")).to_have_text(f"{count} hand{'' if count == 1 else 's'} chosen")


def wait_until_drawn(page: Page) -> None:
    """Wait for the end of a run: until then a button may be replaced while it is clicked."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def check(card: Locator) -> Locator:
    return card.get_by_role("checkbox")


def checked(page: Page) -> Locator:
    return page.locator(".card [role=checkbox][aria-checked=true]")


def test_hands_are_chosen_one_by_one_in_ranges_all_together_and_by_keyboard(
    page: Page, site: str, home: Path
) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=12&stacked=no")
    check(answers(page).nth(2)).click()
    check(answers(page).nth(4)).click()  # at once: no click is lost
    check(answers(page).nth(6)).click(modifiers=["Shift"])
    expect_chosen(page, 4)
    expect(checked(page)).to_have_count(4)
    answers(page).nth(8).locator("button.frame").click(modifiers=["Shift"])  # a picture does as well
    expect_chosen(page, 6)
    answers(page).nth(9).locator("button.frame").focus()
    page.keyboard.press("x")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    expect_chosen(page, 7)
    assert page.url.count("hand=") == 1  # none of it was a search
    page.get_by_role("button", name="Choose all 12").press("Enter")
    expect_chosen(page, 12)
    page.get_by_role("button", name="Take off all 12").click()
    expect(checked(page)).to_have_count(0)
    expect(tray(page)).to_contain_text("No hand chosen")


def test_all_of_an_answer_are_also_the_hands_behind_a_stack(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=40")
    page.get_by_role("button", name="Choose all 40").click()
    expect_chosen(page, 40)
    shown = answers(page).count()
    assert shown < 40
    check(answers(page).nth(0)).click()
    expect_chosen(page, 39)
    expect(page.get_by_role("button", name="Choose all 40")).to_be_visible()


def test_the_tray_lasts_over_pages_and_reloads_and_steps_back(page: Page, site: str) -> None:
    page.goto(site)
    expect(beginnings(page)).to_have_count(24)
    first = hand_of(beginnings(page).nth(0))
    for card in (0, 5, 7):
        check(beginnings(page).nth(card)).click()
        expect_chosen(page, card // 3 + 1)
    page.get_by_role("link", name="Index").click()
    expect(page.get_by_text("v0001").first).to_be_visible()
    expect_chosen(page, 3)
    page.reload()
    expect_chosen(page, 3)
    tray(page).get_by_role("button", name=f"Take off hand {first}").click()
    expect_chosen(page, 2)
    page.get_by_role("link", name="Search").click()
    expect(beginnings(page)).to_have_count(24)
    wait_until_drawn(page)
    for count in (3, 2, 1):
        tray(page).get_by_role("button", name="Undo").click()
        expect_chosen(page, count)
    expect(checked(page)).to_have_count(
        0 if not page.locator(f".card [aria-label*='{first}']").count() else 1
    )


def test_the_lasso_chooses_and_the_map_shows_what_is_chosen(page: Page, site: str) -> None:
    open_map(page, f"{site}/map")
    plain = page.locator("canvas.face").evaluate("face => face.toDataURL()")
    page.get_by_role("button", name="Draw around hands").click()
    draw_around_all(page)
    expect_chosen(page, 60)
    expect(page.locator(".grid[aria-label^='Hands within'] .card.chosen")).to_have_count(60)
    tray(page).get_by_role("button", name="Undo").click()
    expect(checked(page)).to_have_count(0)
    check(page.locator(".grid[aria-label^='Hands within'] .card").nth(0)).click()
    expect_chosen(page, 1)
    page.get_by_test_id("stMainBlockContainer").get_by_role("button", name="Close").click()
    wait_for_redraw(page, plain)


def test_pairs_are_chosen_on_the_page_mining(page: Page, site: str) -> None:
    page.goto(f"{site}/mining")
    pairs = page.locator(".grid[aria-label^='Pairs of'] .card")
    anchor, positive = (hand_of(pairs.nth(number)) for number in (0, 1))
    for number in (0, 1):
        check(pairs.nth(number)).click()
    expect_chosen(page, len({anchor, positive}))


def test_chosen_hands_are_searched_and_written_to_a_file(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=12&stacked=no")
    hands = [hand_of(answers(page).nth(number)) for number in (1, 3)]
    for number in (1, 3):
        check(answers(page).nth(number)).click()
    expect_chosen(page, 2)
    tray(page).get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download 2 hands").click()
    rows = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert [row["hand_id"] for row in rows] == hands
    page.keyboard.press("Escape")
    tray(page).get_by_role("button", name="More like these").click()
    expect(page).to_have_url(re.compile(f"like={'.'.join(hands)}"))
    expect(query(page)).to_have_count(2)
    tray(page).get_by_role("button", name="Clear").click()
    expect(checked(page)).to_have_count(0)
    check(answers(page).nth(5)).click()
    other = hand_of(answers(page).nth(5))
    expect_chosen(page, 1)
    tray(page).get_by_role("button", name="Less like these").click()
    expect(page).to_have_url(re.compile(f"unlike={other}"))


def test_lists_are_those_of_the_command_line(page: Page, own_home: Path) -> None:
    lists = HandLists(Home(own_home).lists)
    with run_server(own_home) as server:
        page.goto(server.url)
        page.get_by_role("button", name="Choose all 24").click()
        expect_chosen(page, 24)
        tray(page).get_by_role("button", name="Lists").click()
        page.get_by_role("textbox", name="Name").fill("seen")
        page.get_by_role("button", name="Save 24 hands as a list").click()
        expect(page.get_by_text("24 hands saved as list seen.")).to_be_visible()
        assert len(lists.read("seen")) == 24
        page.keyboard.press("Escape")
        tray(page).get_by_role("button", name="Leave out").click()
        page.get_by_role("button", name=f"Add 24 hands to {LEFT_OUT}").click()
        expect(page.get_by_text(f"24 hands added to list {LEFT_OUT}.")).to_be_visible()
        np.testing.assert_array_equal(lists.read(LEFT_OUT).hand_ids, lists.read("seen").hand_ids)


def test_visitors_have_trays_of_their_own(page: Page, chromium: Browser, site: str) -> None:
    page.goto(site)
    check(beginnings(page).nth(0)).click()
    expect_chosen(page, 1)
    context = chromium.new_context()
    other = context.new_page()
    other.goto(site)
    expect(beginnings(other)).to_have_count(24)
    expect(tray(other)).to_have_count(0)
    context.close()

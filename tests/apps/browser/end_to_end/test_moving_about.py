"""From page to page and back, and over a restart of the server."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from apps.browser.serve import find_free_port, run_server
from tests.apps.browser.end_to_end.test_search import answers, hand_of
from tests.apps.commands import pick_hand


def go(page: Page, name: str) -> None:
    """By the navigation."""
    page.get_by_role("link", name=name).click()


def test_a_page_shows_again_what_it_was_left_with(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=7")
    expect(answers(page)).to_have_count(7)
    go(page, "Mining")
    page.get_by_role("slider").last.press("ArrowRight")
    expect(page).to_have_url(f"{site}/mining?top_k=2")
    expect(page.get_by_text("changes against the default policy")).to_be_visible()
    go(page, "Search")
    expect(page).to_have_url(f"{site}/?hand={pick_hand(home)}&k=7")
    expect(answers(page)).to_have_count(7)
    go(page, "Mining")
    expect(page).to_have_url(f"{site}/mining?top_k=2")
    go(page, "Search")
    expect(answers(page)).to_have_count(7)
    page.get_by_role("button", name="Start afresh").click()
    expect(page.locator(".grid[aria-label='Hands to begin with'] .card")).to_have_count(24)
    page.locator(".grid[aria-label^='What was asked before'] button.frame").click()
    expect(answers(page)).to_have_count(7)


def test_the_way_back_from_a_hand_leads_to_the_policy(page: Page, site: str) -> None:
    page.goto(f"{site}/mining?top_k=5")
    pair = page.locator(".grid[aria-label^='Pairs of anchor and positive'] .pair").first
    pair.get_by_role("button").last.click()
    expect(answers(page)).to_have_count(24)
    page.go_back()
    expect(page).to_have_url(f"{site}/mining?top_k=5")
    expect(page.get_by_text("changes against the default policy")).to_be_visible()


def test_the_way_back_from_the_map_leads_to_the_whole_question(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=7")
    page.get_by_role("button", name="On the map").click()
    expect(page).to_have_url(re.compile(rf"/map\?hand={pick_hand(home)}"))
    page.go_back()
    expect(page).to_have_url(f"{site}/?hand={pick_hand(home)}&k=7")
    expect(answers(page)).to_have_count(7)


def test_an_open_page_goes_on_with_a_server_that_was_restarted(page: Page, home: Path) -> None:
    port = find_free_port()
    with run_server(home, port=port) as served:
        page.goto(f"{served.url}/?hand={pick_hand(home)}&k=7")
        expect(answers(page)).to_have_count(7)
        with page.expect_response(f"{served.url}/started"):
            pass
    with page.expect_navigation(), run_server(home, port=port):
        page.wait_for_event("load")
        expect(answers(page)).to_have_count(7)
        clicked = hand_of(answers(page).nth(2))
        answers(page).nth(2).locator("button.frame").click()
        expect(page).to_have_url(re.compile(clicked))

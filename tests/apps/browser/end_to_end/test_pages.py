"""From page to page and back, over a restart of the server; and the mining and index pages in use."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from apps.browser.serve import find_free_port, run_server
from tests.apps.browser.end_to_end.test_search import answers, beginnings, hand_of, query, trail
from tests.apps.commands import pick_hand


def pairs(page: Page) -> Locator:
    return page.locator(".grid[aria-label^='Pairs of anchor and positive'] .pair")


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
    expect(beginnings(page)).to_have_count(24)
    trail(page).locator("button.frame").click()
    expect(answers(page)).to_have_count(7)


def test_the_way_back_from_a_hand_leads_to_the_policy(page: Page, site: str) -> None:
    page.goto(f"{site}/mining?top_k=5")
    pairs(page).first.get_by_role("button").last.click()
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


def test_a_changed_policy_shows_other_pairs_and_a_hand_leads_to_its_search(page: Page, site: str) -> None:
    page.goto(f"{site}/mining")
    expect(pairs(page)).to_have_count(12)
    expect(pairs(page).first.locator(".card")).to_have_count(2)
    expect(pairs(page).first).to_contain_text("weight 0.00")
    page.get_by_role("slider").last.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"/mining\?top_k=2$"))
    expect(page.get_by_text("changes against the default policy")).to_be_visible()
    page.get_by_text("Best first", exact=True).click()
    expect(pairs(page).first).to_contain_text("weight 1.00")
    positive = pairs(page).first.get_by_role("button").last
    hand = re.search("[0-9a-f]{16}", positive.get_attribute("aria-label") or "")
    assert hand is not None
    positive.click()
    expect(page).to_have_url(re.compile(rf"/\?hand={hand[0]}$"))
    expect(query(page)).to_contain_text(hand[0])


def current(page: Page, name: str) -> None:
    """Wait until the page says that a version answers everybody."""
    expect(page.get_by_text("Everybody is answered by")).to_contain_text(name)


def test_a_version_is_built_rolled_back_and_published_from_the_page(
    chromium: Browser, page: Page, own_home: Path
) -> None:
    with run_server(own_home) as served, chromium.new_context() as other:
        page.goto(f"{served.url}/index")
        current(page, "v0001")
        page.get_by_role("button", name="Build a new version").click()
        page.get_by_role("dialog").get_by_role("button", name="Build", exact=True).click()
        expect(page.get_by_text("Everybody is answered by")).to_contain_text("v0002", timeout=120_000)
        searching = other.new_page()
        searching.goto(f"{served.url}/?hand={pick_hand(own_home)}&k=5")
        expect(searching.get_by_text("index v0002")).to_be_visible()
        page.get_by_role("button", name="Roll back to v0001").click()
        page.get_by_role("dialog").get_by_role("button", name="Roll back", exact=True).click()
        current(page, "v0001")
        searching.locator(".grid[aria-label^=Answers] button.frame").first.click()
        expect(searching.get_by_text("index v0001")).to_be_visible()


def test_a_read_only_browser_offers_no_actions(page: Page, own_home: Path) -> None:
    with run_server(own_home, "--read-only") as served:
        page.goto(f"{served.url}/index")
        current(page, "v0001")
        for name in (re.compile("Build a new"), re.compile("Roll back"), re.compile("Verify")):
            expect(page.get_by_role("button", name=name).first).to_be_disabled()

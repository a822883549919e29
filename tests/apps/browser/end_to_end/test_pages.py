"""From page to page and back; a server that is restarted; the mining and index pages; foreign pages."""

import base64
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, expect

from apps.browser.serve import find_free_port, run_server
from index import open_catalog
from tests.apps.browser.end_to_end.test_search import answers, hand_of, query
from tests.apps.commands import pick_hand


def pairs(page: Page) -> Locator:
    return page.locator(".grid[aria-label^='Pairs of query hand and match'] .pair")


def go(page: Page, name: str) -> None:
    """By the navigation."""
    page.get_by_role("link", name=name).click()


def test_a_page_shows_again_what_it_was_left_with(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=7&stacked=no")
    expect(answers(page)).to_have_count(7)
    go(page, "Mining")
    page.get_by_role("slider", name="Ranks").last.press("ArrowRight")
    expect(page).to_have_url(f"{site}/mining?top_k=2")
    expect(page.get_by_text("changes against the default policy")).to_be_visible()
    go(page, "Search")
    expect(page).to_have_url(f"{site}/?hand={pick_hand(home)}&k=7&stacked=no")
    expect(answers(page)).to_have_count(7)
    go(page, "Mining")
    expect(page).to_have_url(f"{site}/mining?top_k=2")


def test_an_open_page_goes_on_with_a_server_that_was_restarted(page: Page, home: Path) -> None:
    port = find_free_port()
    with run_server(home, port=port) as served:
        page.goto(f"{served.url}/?hand={pick_hand(home)}&k=7&stacked=no")
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
    page.get_by_role("slider", name="Ranks").last.press("ArrowRight")
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
    page.go_back()
    expect(page).to_have_url(re.compile(r"/mining\?top_k=2&order=best$"))
    expect(pairs(page).first).to_contain_text("weight 1.00")
    expect(page.get_by_text("changes against the default policy")).to_be_visible()


def test_open_pages_follow_the_index(chromium: Browser, page: Page, own_home: Path) -> None:
    """It is built and rolled back from the page, then it goes away and comes back."""
    with run_server(own_home) as served, chromium.new_context() as other:
        state = page.get_by_text("Searches use version")
        page.goto(f"{served.url}/index")
        expect(state).to_contain_text("v0001")
        page.get_by_role("button", name="Build a new version").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Graph").click()
        dialog.get_by_label("m", exact=True).fill("8")
        dialog.get_by_label("m", exact=True).press("Enter")
        dialog.get_by_role("button", name="Build", exact=True).click()
        expect(state).to_contain_text("v0002", timeout=120_000)  # by itself
        expect(page.get_by_role("heading", name="v0002 · current")).to_be_visible()
        assert open_catalog(own_home / "index").info("v0002").settings.m == 8
        searching = other.new_page()
        searching.goto(f"{served.url}/?hand={pick_hand(own_home)}")
        expect(searching.get_by_text("index v0002")).to_be_visible()
        page.get_by_role("button", name="Roll back to v0001").click()
        dialog.get_by_role("button", name="Roll back", exact=True).click()
        expect(state).to_contain_text("v0001")
        expect(page.get_by_role("heading", name="v0001 · current")).to_be_visible()
        answers(searching).first.locator("button.frame").click()
        expect(searching.get_by_text("index v0001")).to_be_visible()
        (own_home / "index").rename(own_home / "away")
        searching.get_by_text("One per video", exact=True).click()
        expect(searching.get_by_text("there is no index at")).to_be_visible()
        (own_home / "away").rename(own_home / "index")
        expect(answers(searching)).to_have_count(11)  # by itself


def upgrade(url: str, host: str) -> str:
    """The first line of the answer to a page under ``host`` that opens the socket of all actions."""
    port = urlsplit(url).port
    lines = [
        *("GET /_stcore/stream HTTP/1.1", f"Host: {host}:{port}", f"Origin: http://{host}:{port}"),
        *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Protocol: streamlit",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        return connection.recv(100).decode().splitlines()[0]


def test_only_pages_under_its_own_names_may_talk_to_the_server(site: str) -> None:
    """A foreign page whose name points to this computer (DNS rebinding) could build and remove versions."""
    for name in ("localhost", "127.0.0.1", "hands.example"):
        assert " 101 " in upgrade(site, name), name
    assert " 403 " in upgrade(site, "evil.example")

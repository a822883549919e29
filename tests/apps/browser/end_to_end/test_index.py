"""Versions built, published and rolled back with the mouse, while somebody else searches."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from apps.browser.serve import run_server
from tests.apps.commands import pick_hand


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


def test_who_may_only_look_cannot_act(page: Page, own_home: Path) -> None:
    with run_server(own_home, "--read-only") as served:
        page.goto(f"{served.url}/index")
        current(page, "v0001")
        for name in (re.compile("Build a new"), re.compile("Roll back"), re.compile("Verify")):
            expect(page.get_by_role("button", name=name).first).to_be_disabled()

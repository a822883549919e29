"""The header of every page in a real web browser: links, the web browser's own way back, saved views."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from apps.browser.serve import run_server
from tests.apps.browser.end_to_end.test_pages import go, pairs
from tests.apps.browser.end_to_end.test_search import answers
from tests.apps.commands import pick_hand
from tests.apps.conftest import copy_home


@pytest.fixture(scope="module")
def own_site(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = copy_home(home, tmp_path_factory.mktemp("header") / "hands-of-2026")
    with run_server(path) as server:
        yield server.url


def test_the_web_browsers_way_back_takes_one_step_of_the_visitor_each_time(
    page: Page, own_site: str, home: Path
) -> None:
    begun = f"{own_site}/?hand={pick_hand(home)}&k=5&stacked=no"
    page.goto(begun)
    expect(answers(page).locator("svg")).to_have_count(5)
    page.get_by_text("Skeletons", exact=True).click()
    expect(page).to_have_url(f"{begun}&skeletons=no")
    expect(answers(page).locator("svg")).to_have_count(0)
    page.go_back()
    expect(page).to_have_url(begun)
    expect(answers(page).locator("svg")).to_have_count(5)
    page.go_forward()
    expect(answers(page).locator("svg")).to_have_count(0)
    go(page, "Mining")
    page.get_by_text("Best first", exact=True).click()
    expect(page).to_have_url(f"{own_site}/mining?order=best")
    expect(pairs(page).first).to_contain_text("weight 1.00")
    go(page, "Search")  # shows what it was left with, which is no step of its own
    expect(page).to_have_url(f"{begun}&skeletons=no")
    expect(answers(page)).to_have_count(5)
    page.go_back()
    expect(page).to_have_url(f"{own_site}/mining?order=best")
    expect(pairs(page).first).to_contain_text("weight 1.00")


@pytest.mark.parametrize("width", [1440, 390])
def test_a_page_is_copied_as_a_link_and_saved_as_a_view(page: Page, own_site: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{own_site}/mining?order=best&top_k=2")
    expect(pairs(page)).to_have_count(12)
    header = page.locator(".st-key-header")
    expect(header).to_contain_text("handsim")
    expect(header).to_contain_text("hands-of-2026")
    expect(header).to_contain_text("v0001")
    box = header.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    link = page.get_by_role("button", name="Copy link")
    link.focus()
    link.press("Enter")
    expect(header.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"{own_site}/mining?order=best&top_k=2"
    name = f"best of two, {width} px"
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("button", name="Save this view").click()
    expect(page.get_by_role("button", name=name)).to_be_visible()
    page.goto(f"{own_site}/results")
    expect(page.get_by_text("No poses have been evaluated yet")).to_be_visible()
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name=name).click()
    expect(page).to_have_url(re.compile(r"/mining\?order=best&top_k=2$"))
    expect(pairs(page)).to_have_count(12)

"""Each page for everybody: WCAG 2.2 AA by axe-core, one h1, a path by the keyboard alone."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from apps.browser.serve import run_server
from handsim.home import Home
from tests.apps.browser import builders
from tests.apps.browser.builders import (
    loss_lines,
    put_map,
    write_experiment,
    write_pose_report,
    write_retrieval,
    write_run,
)
from tests.apps.browser.end_to_end.test_search import answers, beginnings
from tests.apps.commands import pick_hand
from tests.apps.conftest import copy_home

DESK: Final = {"width": 1440, "height": 900}
PHONE: Final = {"width": 390, "height": 844}
_RULES: Final = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}
_NO_MOTION: Final = "*, *::before, *::after { transition: none !important; animation: none !important; }"
"""What fades in, or into the other theme, has a low contrast on its way."""
_PAGES: Final = {  # what is on a page once it is drawn
    "": ".grid[aria-label='Hands to begin with'] img",
    "?hand={hand}": ".grid[aria-label^=Answers] img",
    "map": ".legend > *",
    "mining": ".grid[aria-label^='Pairs of'] img",
    "training": "[data-testid=stVegaLiteChart] svg",
    "results": "[data-testid=stVegaLiteChart] svg",
    "results?of=Retrieval": "[data-testid=stDataFrame]",
    "results?of=Experiments": "[data-testid=stTable]",
    "index": "text=Searches use version",
    "add": "text=hands of the pool can be searched",
}
_MOST_TABS: Final = 90


@pytest.fixture(scope="module")
def full_site(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A home in which each page has something to show."""
    path = copy_home(home, tmp_path_factory.mktemp("site") / "home")
    put_map(path)
    runs, age_s = Home(path).runs, builders.NOW - time.time() + 3600
    for seed in (1, 2):
        write_run(runs / f"run-{seed}", loss_lines(10), seed=seed, age_s=age_s)
        write_pose_report(runs / f"pose-{seed}", error_mm=20.0 + seed, seed=seed)
    write_retrieval(runs / "retrieval")
    write_experiment(path / "experiments" / "tenth")
    with run_server(path) as server:
        yield server.url


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_no_page_violates_wcag_in_either_theme(
    page: Page, full_site: str, home: Path, size: dict[str, int]
) -> None:
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    found: list[str] = []
    for address, sign in _PAGES.items():
        page.emulate_media(color_scheme="light")
        page.goto(f"{full_site}/{address.format(hand=pick_hand(home))}")
        page.add_style_tag(content=_NO_MOTION)
        expect(page.locator(sign).first).to_be_visible()
        expect(page.locator("[data-stale='true']")).to_have_count(0)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            expect(page.locator(".stApp")).to_have_css("color-scheme", theme)
            found += [f"{address} {theme}: {violation}" for violation in violations(page)]
        assert page.locator(".stMain").evaluate("main => main.scrollWidth <= main.clientWidth"), address
    assert not found, "\n".join(found)


def violations(page: Page) -> list[str]:
    """What axe-core says against a page as it is now."""
    found = Axe().run(page, options=_RULES).response["violations"]
    return [
        f"{violation['id']}: {node['target']} {node['html'][:200]} {node['failureSummary']}"
        for violation in found
        for node in violation["nodes"]
    ]


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until a thing has the focus."""
    expect(target).to_be_visible()
    for _ in range(_MOST_TABS):
        if target.evaluate("node => node.matches(':focus')"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")


def choose_next(page: Page, radio: Locator) -> None:
    """Choose what follows a radio button, which the keyboard goes to and then chooses."""
    tab_to(page, radio)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")


@pytest.fixture
def phone(page: Page) -> Page:
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    return page


def test_search_by_keyboard_alone(phone: Page, site: str) -> None:
    phone.goto(f"{site}/?stacked=no")
    expect(beginnings(phone)).to_have_count(24)
    tab_to(phone, beginnings(phone).nth(3).locator("button.frame"))
    phone.keyboard.press("Enter")
    found = phone.get_by_role("heading", name="24 hands of")
    expect(found).to_be_focused()
    expect(found).to_be_in_viewport()
    phone.keyboard.press("Shift+Tab")
    conditions = phone.get_by_role("button", name="Conditions")
    expect(conditions).to_be_focused()
    slider = phone.get_by_role("slider", name="Answers")
    expect(slider).to_be_hidden()
    phone.keyboard.press("Enter")
    tab_to(phone, slider)
    phone.keyboard.press("ArrowRight")
    expect(phone).to_have_url(re.compile("k=25"))
    expect(phone.get_by_role("heading", name="25 hands of")).to_be_attached()
    phone.keyboard.press("Escape")
    expect(conditions).to_be_focused()
    expect(slider).to_be_hidden()
    tab_to(phone, answers(phone).nth(1).locator(".more"))
    phone.keyboard.press("Enter")
    expect(phone).to_have_url(re.compile("like="))


def test_the_map_by_keyboard_alone(phone: Page, site: str) -> None:
    phone.goto(f"{site}/map")
    expect(phone.locator(".legend > *").first).to_be_visible()
    tab_to(phone, phone.locator("canvas.face"))
    phone.keyboard.press("+")
    expect(phone.locator(".stage")).to_have_attribute("data-zoom", "1.60")
    tab_to(phone, phone.get_by_role("button", name="Choose the hands that are in view"))
    phone.keyboard.press("Enter")
    tab_to(phone, phone.locator(".grid[aria-label^='Hands within'] button.frame").first)
    phone.keyboard.press("Enter")
    expect(phone).to_have_url(re.compile(r"/\?hand=[0-9a-f]{16}"))
    expect(phone.get_by_role("heading", name="hands of")).to_be_focused()


def test_mining_by_keyboard_alone(phone: Page, site: str) -> None:
    phone.goto(f"{site}/mining")
    expect(phone.locator(".pair").first).to_be_visible()
    tab_to(phone, phone.get_by_role("button", name="Mining policy"))
    phone.keyboard.press("Enter")
    tab_to(phone, phone.get_by_role("slider", name="Ranks").last)
    phone.keyboard.press("ArrowRight")
    expect(phone).to_have_url(re.compile("top_k=2"))
    phone.keyboard.press("Escape")
    choose_next(phone, phone.get_by_role("radio", name="Worst first"))
    expect(phone.locator(".grid[aria-label$='best first']")).to_be_visible()
    tab_to(phone, phone.locator(".pair button.frame").first)
    phone.keyboard.press("Enter")
    expect(phone).to_have_url(re.compile(r"/\?hand=[0-9a-f]{16}"))


def test_training_by_keyboard_alone(phone: Page, full_site: str) -> None:
    phone.goto(f"{full_site}/training")
    expect(phone.locator("[data-testid=stVegaLiteChart] svg").first).to_be_visible()
    tab_to(phone, phone.get_by_role("combobox", name="Runs to compare"))
    phone.keyboard.press("ArrowDown")
    expect(phone.get_by_role("option").first).to_be_visible()
    phone.keyboard.press("Enter")
    expect(phone).to_have_url(re.compile("run-1.*run-2|run-2.*run-1"))
    phone.keyboard.press("Escape")
    choose_next(phone, phone.get_by_role("radio", name="linear"))
    expect(phone).to_have_url(re.compile("scale=logarithmic"))


def test_results_by_keyboard_alone(phone: Page, full_site: str) -> None:
    phone.goto(f"{full_site}/results")
    expect(phone.locator("[data-testid=stVegaLiteChart] svg").first).to_be_visible()
    choose_next(phone, phone.get_by_role("radio", name="Poses"))
    expect(phone.get_by_role("combobox", name="Figures of")).to_be_visible()
    choose_next(phone, phone.get_by_role("radio", name="Retrieval"))
    expect(phone.get_by_role("heading", name="A tenth of")).to_be_visible()
    tab_to(phone, phone.get_by_role("combobox", name="Experiment"))


def test_the_index_by_keyboard_alone(phone: Page, full_site: str) -> None:
    phone.goto(f"{full_site}/index")
    verify = phone.get_by_role("button", name="Verify", exact=True)
    tab_to(phone, verify)
    phone.keyboard.press("Enter")
    dialog = phone.get_by_role("dialog")
    tab_to(phone, dialog.get_by_role("button", name="Verify", exact=True))
    phone.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(verify).to_be_focused()

"""Controls of the search page while they are in use."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.apps.browser.end_to_end.test_search import answers, draw, pose_in, query
from tests.apps.commands import pick_hand


def test_a_slider_does_not_jump_back_while_it_is_moved(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}")
    expect(answers(page)).to_have_count(24)
    slider = page.get_by_role("slider", name="Answers")
    slider.focus()
    seen = []
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(40)
        seen.append(int(slider.input_value()))
    assert seen == list(range(25, 37))
    expect(answers(page)).to_have_count(36)


def test_the_last_mark_cannot_be_taken_off_and_that_moves_nothing(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?like={pick_hand(home)}&k=5")
    expect(answers(page)).to_have_count(5)
    start = page.get_by_role("button", name="Random hand")
    before = start.bounding_box()
    query(page).get_by_role("button", name="More like").click()
    expect(page.get_by_text("Mark a hand with + first")).to_be_visible()
    assert start.bounding_box() == before


def test_a_preset_is_chosen_again_after_a_drag(page: Page, site: str) -> None:
    draw(page, site, "OK")
    chosen = page.url
    page.locator("circle[data-joint='8']").press("ArrowUp")
    expect(page).not_to_have_url(chosen)
    expect(page.get_by_role("radio", name="OK")).not_to_be_checked()
    page.get_by_text("OK", exact=True).click()
    expect(page).to_have_url(chosen)


@pytest.mark.parametrize("joint", [0, 5])
def test_a_joint_stays_where_it_can_be_taken_hold_of(page: Page, site: str, joint: int) -> None:
    draw(page, site, "Flat")
    before = page.url
    held = page.locator(f"circle[data-joint='{joint}']")
    box = held.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(2, 2, steps=4)
    page.mouse.up()
    expect(page).not_to_have_url(before)
    assert min(pose_in(page.url)) >= 0


def test_what_cannot_be_read_can_be_left(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?like={pick_hand(home)}&diversity=0.5")
    expect(page.get_by_text("Diversity does not go with examples")).to_be_visible()
    page.get_by_role("button", name="Start afresh").click()
    expect(page.locator(".grid[aria-label='Hands to begin with'] .card")).to_have_count(24)

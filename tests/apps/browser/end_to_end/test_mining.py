"""Trying mining policies, with the mouse and the keyboard."""

import re

from playwright.sync_api import Locator, Page, expect


def pairs(page: Page) -> Locator:
    return page.locator(".grid[aria-label^='Pairs of anchor and positive'] .pair")


def test_a_policy_changed_and_a_hand_clicked(page: Page, site: str) -> None:
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
    expect(page.locator(".grid[aria-label='What is asked about'] .card")).to_contain_text(hand[0])

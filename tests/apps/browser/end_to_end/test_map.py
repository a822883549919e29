"""The map in a real web browser: pointing, clicking, zooming, outlines, fingers."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Locator, Page, WebSocket, expect

from handsim import Pool
from tests.apps.browser.end_to_end.test_search import answers, centre
from tests.apps.commands import pick_hand

LASSO = [(0.01, 0.1), (0.99, 0.1), (0.99, 0.99), (0.01, 0.99)]
"""Around all hands, as shares of what the map takes up."""


def stage(page: Page) -> Locator:
    return page.locator(".stage")


def tip(page: Page) -> Locator:
    return page.locator(".tip")


def selected(page: Page) -> Locator:
    return page.locator(".grid[aria-label^='Hands within'] .card")


def open_map(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator(".legend > *").first).to_be_visible()
    # Until the run ends, what it draws above the map may move it.
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def places(page: Page, shares: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places on the map, by their shares of its width and its height."""
    box = stage(page).bounding_box()
    assert box is not None
    return [(box["x"] + across * box["width"], box["y"] + down * box["height"]) for across, down in shares]


def find_hand(page: Page, go: Callable[[float, float], None]) -> tuple[float, float]:
    """Go from place to place on the map until one of them is a hand, and return which."""
    rows, columns = np.linspace(0.2, 0.9, 30), np.linspace(0.1, 0.9, 40)
    for place in places(page, ((across, down) for down in rows for across in columns)):
        go(*place)
        if int(stage(page).get_attribute("data-hovered") or -1) >= 0:
            return place
    raise AssertionError("there is no hand anywhere on the map")


def wait_for_redraw(page: Page, before: str) -> str:
    """Wait until the canvas shows something else than before; returns what it shows."""
    face = page.locator("canvas.face")
    handle = face.element_handle()
    page.wait_for_function("([face, before]) => face.toDataURL() !== before", arg=[handle, before])
    return str(face.evaluate("face => face.toDataURL()"))


def draw_around_all(page: Page) -> None:
    first, *others = places(page, LASSO)
    page.mouse.move(*first)
    page.mouse.down()
    for place in others:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def test_pointing_shows_the_crop_and_a_click_searches(page: Page, site: str) -> None:
    received: list[bytes] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: received.append(frame if isinstance(frame, bytes) else b""))

    page.on("websocket", listen)
    open_map(page, f"{site}/map")
    before = len(received)
    x, y = find_hand(page, page.mouse.move)
    expect(tip(page).locator("img")).to_be_visible()
    expect(tip(page)).to_contain_text("to another video")
    points = b"Map of 60 hands"  # in the line before them
    assert sum(points in frame for frame in received[:before]) == 1
    assert not any(points in frame for frame in received[before:])  # they were sent once
    page.mouse.move(2, 2)
    expect(tip(page)).to_be_hidden()
    page.mouse.move(x, y)
    begins = tip(page).locator("b").inner_text().rstrip("…")
    page.mouse.click(x, y)
    expect(page).to_have_url(re.compile(rf"/\?hand={begins}[0-9a-f]{{8}}$"))
    expect(answers(page).first).to_be_visible()
    page.get_by_role("link", name="Map").click()
    expect(page.locator(".legend > *").first).to_be_visible()
    find_hand(page, page.mouse.move)  # also where it asks again about the hand that it asked about last
    expect(tip(page).locator("img")).to_be_visible()


def test_wheel_buttons_keys_and_drags_move_the_view(page: Page, site: str) -> None:
    open_map(page, f"{site}/map")
    x, y = centre(stage(page))
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    expect(stage(page)).to_have_attribute("data-zoom", re.compile(r"^[2-9]\."))
    page.get_by_role("button", name="Zoom out").click()
    expect(stage(page)).to_have_attribute("data-zoom", re.compile(r"^1\."))
    page.get_by_role("button", name="Show the whole map").click()
    expect(stage(page)).to_have_attribute("data-zoom", "1.00")
    page.locator("canvas.face").press("+")
    expect(stage(page)).to_have_attribute("data-zoom", "1.60")
    moved = wait_for_redraw(page, "")
    page.locator("canvas.face").press("Shift+ArrowLeft")
    moved = wait_for_redraw(page, moved)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 40, steps=5)
    page.mouse.up()
    wait_for_redraw(page, moved)
    expect(page).to_have_url(re.compile(r"/map\?view=[0-9._-]+_1\.60$"))  # a drag is no click
    page.reload()
    expect(stage(page)).to_have_attribute("data-zoom", "1.60")
    page.get_by_role("button", name="Show the whole map").click()
    expect(page).to_have_url(f"{site}/map")


def test_an_outline_shows_its_hands_together(page: Page, site: str) -> None:
    open_map(page, f"{site}/map")
    page.keyboard.down("Shift")
    draw_around_all(page)
    page.keyboard.up("Shift")
    expect(selected(page)).to_have_count(60)
    expect(page.get_by_text("60 hands of 12 videos")).to_be_visible()
    page.reload()
    expect(page.get_by_text("60 hands of 12 videos")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(selected(page)).to_have_count(0)
    lasso = page.get_by_role("button", name="Draw around hands")
    lasso.click()
    expect(lasso).to_have_attribute("aria-pressed", "true")
    draw_around_all(page)
    expect(selected(page)).to_have_count(60)
    page.get_by_role("button", name="Close").click()
    expect(selected(page)).to_have_count(0)
    page.get_by_role("button", name="Choose the hands that are in view").press(
        "Enter"
    )  # the keyboard alone is enough
    expect(selected(page)).to_have_count(60)
    selected(page).first.locator("button.frame").press("Enter")
    expect(page).to_have_url(re.compile(r"/\?hand=[0-9a-f]{16}$"))


def test_a_key_of_the_legend_highlights_its_hands(page: Page, site: str) -> None:
    open_map(page, f"{site}/map?colour=Video")
    key = page.locator(".key").first
    before = wait_for_redraw(page, "")
    key.hover()
    wait_for_redraw(page, before)
    key.click()
    expect(key).to_have_attribute("aria-pressed", "true")
    page.mouse.move(2, 2)
    expect(key).to_have_attribute("aria-pressed", "true")


def test_an_entry_of_the_legend_is_a_condition_also_of_search(page: Page, site: str, home: Path) -> None:
    rights = 60 - int(Pool.open(home / "pool").is_left.sum())
    open_map(page, f"{site}/map?colour=Side")
    right, left = (page.locator(f".key[data-name='{side}']") for side in ("right", "left"))
    right.click()
    expect(right).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text(f"{rights} of 60 hands")).to_be_visible()
    expect(stage(page)).to_have_attribute("data-shown", str(rights))
    left.press("Enter")
    expect(page).to_have_url(re.compile("side=left"))
    expect(right).to_have_attribute("aria-pressed", "false")
    page.get_by_role("link", name="Search").click()
    expect(page).to_have_url(f"{site}/?side=left")
    page.get_by_role("link", name="Map").click()
    expect(left).to_have_attribute("aria-pressed", "true")
    left.press("Enter")
    expect(stage(page)).to_have_attribute("data-shown", "60")


def test_hands_are_reached_and_searched_from_by_keyboard(page: Page, site: str) -> None:
    open_map(page, f"{site}/map")
    face = page.locator("canvas.face")
    face.press("ArrowRight")  # to the middle of the view
    expect(stage(page)).to_have_attribute("data-hovered", re.compile(r"\d"))
    expect(page.locator(".said")).to_contain_text("to another video")
    first = page.locator(".said").inner_text()
    face.press("ArrowRight")
    expect(page.locator(".said")).not_to_have_text(first)
    face.press("x")
    expect(page.get_by_text("1 hand chosen")).to_be_visible()
    begins = tip(page).locator("b").inner_text().rstrip("…")
    face.press("Enter")
    expect(page).to_have_url(re.compile(rf"/\?hand={begins}[0-9a-f]{{8}}$"))


def test_the_hand_of_a_question_is_marked_and_the_way_back_leads_to_all_of_it(
    page: Page, site: str, home: Path
) -> None:
    open_map(page, f"{site}/map")
    without = wait_for_redraw(page, "")
    page.goto(f"{site}/?hand={pick_hand(home)}&k=7&stacked=no")
    page.get_by_role("button", name="On the map").click()
    expect(page).to_have_url(re.compile(rf"/map\?hand={pick_hand(home)}"))
    expect(page.locator(".legend > *").first).to_be_visible()
    expect(stage(page)).to_have_attribute("data-lit", "7")  # its answer
    wait_for_redraw(page, without)
    page.go_back()
    expect(page).to_have_url(f"{site}/?hand={pick_hand(home)}&k=7&stacked=no")
    expect(answers(page)).to_have_count(7)


def test_fingers_zoom_point_and_search(chromium: Browser, site: str) -> None:
    """Two zoom; a tap shows what is under it, for a finger cannot point, and another one searches from it."""
    with chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    ) as context:
        page = context.new_page()
        open_map(page, f"{site}/map")
        x, y = centre(stage(page))
        fingers = context.new_cdp_session(page)

        def touch(kind: str, *places: float) -> None:
            points = [{"x": place, "y": y, "id": finger} for finger, place in enumerate(places)]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", x - 20, x + 20)
        for apart in (40, 60, 80):
            touch("touchMove", x - apart, x + apart)
        touch("touchEnd")
        expect(stage(page)).to_have_attribute("data-zoom", re.compile(r"^[34]\."))
        page.get_by_role("button", name="Show the whole map").tap()
        expect(stage(page)).to_have_attribute("data-zoom", "1.00")
        hand = find_hand(page, page.touchscreen.tap)
        expect(tip(page).locator("img")).to_be_visible()
        page.touchscreen.tap(*hand)
        expect(page).to_have_url(re.compile(r"/\?hand=[0-9a-f]{16}$"))

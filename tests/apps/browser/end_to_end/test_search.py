"""The search page in a real web browser: mouse, keyboard, pictures."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from handsim import Pool
from tests.apps.commands import pick_hand


def answers(page: Page) -> Locator:
    return page.locator(".grid[aria-label^=Answers] .card")


def query(page: Page) -> Locator:
    return page.locator(".grid[aria-label='What is asked about'] .card")


def beginnings(page: Page) -> Locator:
    return page.locator(".grid[aria-label='Hands to begin with'] .card")


def trail(page: Page) -> Locator:
    return page.locator(".grid[aria-label^='What was asked before'] .card")


def hand_of(card: Locator) -> str:
    """The id that a card's button names."""
    found = re.search("[0-9a-f]{16}", card.locator("button.frame").get_attribute("aria-label") or "")
    assert found is not None
    return found[0]


def test_a_click_searches_from_a_hand_and_the_trail_leads_back(page: Page, site: str) -> None:
    page.goto(f"{site}/?stacked=no")
    expect(beginnings(page)).to_have_count(24)
    first = hand_of(beginnings(page).nth(3))
    beginnings(page).nth(3).locator("button.frame").click()
    expect(answers(page)).to_have_count(24)
    expect(page).to_have_url(re.compile(f"hand={first}"))
    expect(query(page)).to_contain_text(first)
    second = hand_of(answers(page).nth(2))
    answers(page).nth(2).locator("button.frame").click()
    expect(page).to_have_url(re.compile(f"hand={second}"))
    expect(query(page)).to_contain_text(second)
    trail(page).first.locator("button.frame").click()
    expect(page).to_have_url(re.compile(f"hand={first}"))
    expect(query(page)).to_contain_text(first)


def test_a_slider_that_the_browser_draws_late_keeps_its_value(page: Page, site: str, home: Path) -> None:
    held: list[Route] = []
    page.route(re.compile(r"/Slider\.[^/]*\.js"), lambda route: held.append(route))
    page.goto(f"{site}/?hand={pick_hand(home)}&stacked=no")
    expect(answers(page)).to_have_count(24)
    answers(page).nth(2).locator("button.frame").click()
    expect(trail(page)).to_have_count(1)
    assert held
    for script in held:
        script.continue_()
    expect(page.get_by_role("slider", name="Answers")).to_have_value("24")


def test_distances_rise_and_skeletons_come_and_go(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=10&stacked=no")
    expect(answers(page)).to_have_count(10)
    distances = [
        float(text.removeprefix("distance "))
        for text in answers(page).locator("figcaption b").all_inner_texts()
    ]
    assert distances == sorted(distances)
    expect(answers(page).locator("svg")).to_have_count(10)
    page.get_by_text("Skeletons", exact=True).click()
    expect(answers(page).locator("svg")).to_have_count(0)
    expect(answers(page).locator("img")).to_have_count(10)
    second = hand_of(answers(page).nth(1))
    answers(page).nth(1).locator("button.frame").press("Enter")  # the keyboard alone is enough
    expect(page).to_have_url(re.compile(f"hand={second}"))


def test_marks_search_for_more_like_some_and_less_like_others(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=12&stacked=no")
    expect(answers(page)).to_have_count(12)
    more, less = hand_of(answers(page).nth(1)), hand_of(answers(page).nth(8))
    answers(page).nth(1).get_by_role("button", name="More like").click()
    expect(page).to_have_url(re.compile(f"like={pick_hand(home)}.{more}"))
    expect(query(page)).to_have_count(2)
    page.locator(f"[data-hand='{less}'] .less").click()
    expect(page).to_have_url(re.compile(f"unlike={less}"))
    expect(query(page)).to_have_count(3)
    expect(query(page).nth(2)).to_contain_text("Unlike")
    for example in (more, less, pick_hand(home)):
        expect(answers(page).locator(f"[aria-label*='{example}']")).to_have_count(0)
    query(page).nth(2).get_by_role("button", name="Less like").click()  # taken off again
    expect(query(page)).to_have_count(2)
    query(page).nth(1).get_by_role("button", name="More like").click()
    expect(query(page)).to_have_count(1)
    # The last mark cannot be taken off, and saying so moves nothing.
    start = page.get_by_role("button", name="Random hand")
    before = start.bounding_box()
    query(page).get_by_role("button", name="More like").click()
    expect(page.get_by_text("Mark a hand with + first")).to_be_visible()
    assert start.bounding_box() == before


def draw(page: Page, site: str, shape: str) -> None:
    """Search from a pose made by hand, which begins with a preset."""
    page.goto(f"{site}/?stacked=no")
    page.get_by_role("radio", name="Pose").click()
    page.get_by_text(shape, exact=True).click()
    expect(answers(page)).to_have_count(24)


def pose_in(url: str) -> list[int]:
    """The pose in an address, [42]."""
    return [int(number) for number in re.findall(r"-?\d+", url.split("pose=")[1])]


def joint(page: Page, number: int) -> Locator:
    return page.locator(f"circle[data-joint='{number}']")


def centre(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_dragged_joint_moves_the_rest_of_its_finger(page: Page, site: str) -> None:
    draw(page, site, "Point")
    chosen = before = page.url
    drawn = pose_in(chosen)
    x, y = centre(joint(page, 8))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y + 90, steps=5)
    page.mouse.up()
    expect(page).not_to_have_url(before)
    expect(answers(page)).to_have_count(24)
    dragged, before = pose_in(page.url), page.url
    moved = {number // 2 for number in range(42) if dragged[number] != drawn[number]}
    assert moved == {8}  # a tip moves alone
    joint(page, 5).focus()
    page.keyboard.press("ArrowUp")
    expect(page).not_to_have_url(before)
    lifted = pose_in(page.url)
    assert {number // 2 for number in range(42) if lifted[number] != dragged[number]} == {5, 6, 7, 8}
    # The preset can be chosen again.
    expect(page.get_by_role("radio", name="Point")).not_to_be_checked()
    page.get_by_text("Point", exact=True).click()
    expect(page).to_have_url(chosen)
    for number in (5, 0):  # a finger, the whole hand: no joint leaves the editor
        before = page.url
        page.mouse.move(*centre(joint(page, number)))
        page.mouse.down()
        page.mouse.move(2, 2, steps=4)
        page.mouse.up()
        expect(page).not_to_have_url(before)
        assert min(pose_in(page.url)) >= 0


def test_a_joint_can_be_moved_on_while_answers_arrive(page: Page, site: str) -> None:
    draw(page, site, "Point")
    begun = pose_in(page.url)
    knuckle = joint(page, 5)
    knuckle.focus()
    for _ in range(2):
        before = page.url
        page.keyboard.press("ArrowUp")
        expect(page).not_to_have_url(before)
        expect(page.locator("[data-stale='true']")).to_have_count(0)
        expect(knuckle).to_be_focused()
    assert pose_in(page.url)[11] == begun[11] - 20
    # The answer to a third key comes while another joint is held.
    x, y = centre(joint(page, 20))
    before = page.url
    page.keyboard.press("ArrowUp")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 20)
    expect(page).not_to_have_url(before)
    expect(page.locator("[data-stale='true']")).to_have_count(0)
    before = page.url
    page.mouse.move(x, y + 60)
    page.mouse.up()
    expect(page).not_to_have_url(before)
    ended = pose_in(page.url)
    assert ended[11] == begun[11] - 30
    scale = page.locator("svg:has(circle[data-joint='20'])").evaluate("svg => 1000 / svg.clientWidth")
    assert ended[41] - begun[41] == pytest.approx(60 * scale, abs=3)


def test_a_photograph_of_a_hand_is_searched_with(page: Page, site: str, home: Path, model_path: Path) -> None:
    pool = Pool.open(home / "pool")
    page.goto(f"{site}/?stacked=no")
    page.get_by_role("radio", name="Photograph").click()
    picture = FilePayload(
        name="hand.jpg", mimeType="image/jpeg", buffer=pool.crop_jpeg(int(pool.hand_ids[0]))
    )
    page.locator("input[type=file]").set_input_files(files=[picture])
    expect(query(page)).to_contain_text("from your picture")
    expect(answers(page)).to_have_count(24)
    expect(page).to_have_url(re.compile("pose="))
    # It is an example as hands are, and a reload shows what it was.
    more, less = hand_of(answers(page).nth(1)), hand_of(answers(page).nth(8))
    page.locator(f"[data-hand='{more}'] .more").click()
    expect(query(page)).to_have_count(2)
    page.locator(f"[data-hand='{less}'] .less").click()
    expect(query(page)).to_have_count(3)
    for example in (more, less):
        expect(answers(page).locator(f"[aria-label*='{example}']")).to_have_count(0)
    page.reload()
    expect(query(page)).to_have_count(3)
    expect(query(page).first).to_contain_text("from your picture")
    expect(query(page).first.locator("img")).to_have_count(1)


def test_hands_of_one_video_are_stacked_until_all_or_one_of_each_is_asked_for(
    page: Page, site: str, home: Path
) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=55")
    expect(answers(page)).to_have_count(11)
    expect(answers(page).get_by_text("+4 from this video")).to_have_count(11)
    page.get_by_role("radio", name="All", exact=True).click()
    expect(answers(page)).to_have_count(55)
    expect(page).to_have_url(re.compile("stacked=no"))
    page.get_by_role("radio", name="One", exact=True).click()
    expect(page).to_have_url(re.compile("one_per_video=yes"))
    expect(answers(page)).to_have_count(11)
    expect(answers(page).get_by_text("from this video")).to_have_count(0)


def test_text_from_an_address_is_shown_unchanged(page: Page, site: str) -> None:
    for text in ("https://e.xy www.e.xy a@e.xy :smile: ->", ":material/delete: https://evil.example/x"):
        page.goto(f"{site}/?{urlencode({'k': text})}")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("cannot be read")
        assert text in alert.inner_text().replace("\u2060", "")
        expect(alert.locator("a")).to_have_count(0)


def test_the_answers_are_downloaded_as_table_and_montage(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&k=9&stacked=no")
    expect(answers(page)).to_have_count(9)
    with page.expect_download() as table:
        page.get_by_role("button", name="CSV").click()
    assert len(Path(table.value.path()).read_text().splitlines()) == 10
    with page.expect_download() as sheet:
        page.get_by_role("button", name="Montage").click()
    assert Path(sheet.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_slider_does_not_jump_back_while_it_is_moved(page: Page, site: str, home: Path) -> None:
    page.goto(f"{site}/?hand={pick_hand(home)}&stacked=no")
    expect(answers(page)).to_have_count(24)
    slider = page.get_by_role("slider", name="Answers")
    slider.focus()
    values = []
    for _ in range(12):
        page.keyboard.press("ArrowRight", delay=40)
        values.append(int(slider.input_value()))
    assert values == list(range(25, 37))
    expect(answers(page)).to_have_count(36)

"""How quick the browser is on a large pool, in a real Chromium, as JSON.

python -m benchmarks.browser [--hands 500000] [--clicks 600] [--home DIR]
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray
from playwright.sync_api import Browser, Locator, Page, expect

from apps.browser.serve import RunningServer, run_server
from benchmarks.clock import Clock
from benchmarks.video_poses import VideoPoses
from handsim.hand import Hand, format_hand_id
from handsim.home import Home
from handsim.images import encode_jpeg
from handsim.pool import Pool, PoolWriter
from handsim.synthetic import SyntheticConfig, synthesise
from index import open_catalog
from tests.apps.browser.screenshot import chromium

_PICTURES: Final = 64
_OPENED_AFTER_S: Final = 5
_SEARCHES: Final = 60
_FLIPS: Final = 20
_CLICKS_A_READING: Final = 50


def make_home(home: Home, hands: int) -> None:
    """Write a pool of poses that are all different, with a few pictures in turn, and build its index."""
    rendered = synthesise(SyntheticConfig(videos=_PICTURES, hands_per_video=1))
    jpegs = [encode_jpeg(samples.images[0]) for samples in rendered]
    poses = VideoPoses.make(hands, seed=0)
    with PoolWriter(home.pool) as writer:
        for row in range(hands):
            writer.add(
                Hand(
                    hand_id=int(poses.hand_ids[row]),
                    source=f"collection-{row % 3}",
                    video=f"{poses.video[row]:06d}",
                    frame=int(poses.frames[row]),
                    side="left" if row % 2 else "right",
                    score=float(poses.scores[row]),
                    box_px=np.zeros(4, np.float32),
                    keypoints=poses.keypoints[row],
                ),
                jpegs[row % _PICTURES],
            )
    with open_catalog(home.index) as catalog:
        catalog.build(Pool.open(home.pool), poses.embedding)


def cards(page: Page, label: str) -> Locator:
    """The hands of the grid that bears a label."""
    return page.locator(f".grid[aria-label^='{label}'] .card")


def first_page_s(browser: Browser, url: str) -> float:
    """Seconds from the address to hands that can be clicked on, of a new visitor."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context, Clock() as clock:
        page = context.new_page()
        page.goto(url)
        expect(cards(page, "Hands to begin with")).to_have_count(24, timeout=60_000)
    return clock.seconds


def click_on(page: Page, hand_rank: int) -> tuple[float, float]:
    """Search from an answer; milliseconds until its answers are there, and what the server says it took."""
    card = cards(page, "Answers").nth(hand_rank)
    hand = re.search("[0-9a-f]{16}", card.locator("button.frame").get_attribute("aria-label") or "")
    assert hand is not None
    with Clock() as clock:
        card.locator("button.frame").click()
        expect(cards(page, "What is asked about")).to_contain_text(hand[0])
        # No hand is its own neighbour: where it is no longer among them, they are the new answers.
        expect(cards(page, "Answers").locator(f"[aria-label*='{hand[0]}']")).to_have_count(0)
    told = re.search(r"([\d,]+) ms", page.get_by_text("nearest first").inner_text())
    assert told is not None
    return clock.seconds * 1000, float(told[1].replace(",", ""))


def flip(page: Page) -> float:
    """Milliseconds until a filter that was turned on or off shows in the address and in the answers."""
    before = page.url
    with Clock() as clock:
        page.get_by_text("One per video", exact=True).click()
        page.wait_for_url(lambda url: url != before)
        expect(page.locator("[data-stale='true']")).to_have_count(0)
    return clock.seconds * 1000


def measure(browser: Browser, served: RunningServer, pool: Pool, clicks: int) -> dict[str, Any]:
    """Look at everything in turn, by one visitor, with the server's memory read meanwhile."""
    random = np.random.default_rng(0)
    server = psutil.Process(served.pid)
    figures: dict[str, Any] = {
        "first_page_first_visitor_s": round(first_page_s(browser, served.url), 2),
        "first_page_next_visitors_s": [round(first_page_s(browser, served.url), 2) for _ in range(3)],
    }
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(f"{served.url}/?hand={format_hand_id(int(pool.hand_ids[0]))}&stacked=no")
        expect(cards(page, "Answers")).to_have_count(24)
        searches = np.array([click_on(page, int(random.integers(24))) for _ in range(_SEARCHES)])
        flips = [flip(page) for _ in range(_FLIPS)]
        memory_mb = [server.memory_info().rss / 1e6]
        for number in range(clicks):
            click_on(page, int(random.integers(24)))
            if (number + 1) % _CLICKS_A_READING == 0:
                memory_mb.append(server.memory_info().rss / 1e6)
    return {
        **figures,
        "search_server_ms": _spread(searches[:, 1]),
        "search_until_seen_ms": _spread(searches[:, 0]),
        "filter_until_seen_ms": _spread(np.array(flips)),
        "memory_mb": [round(value) for value in memory_mb],
        "memory_growth_mb_in_second_half": round(memory_mb[-1] - memory_mb[len(memory_mb) // 2], 1),
    }


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return {"median": round(float(np.median(values)), 1), "p95": round(float(np.percentile(values, 95)), 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=500_000)
    parser.add_argument("--clicks", type=int, default=600, help="an hour, at one in six seconds")
    parser.add_argument(
        "--home", type=Path, help="a home to keep and use again; default: one that is removed"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, chromium() as browser:
        home = Home(options.home or Path(made) / "home")
        if not home.pool.exists():
            make_home(home, options.hands)
        with run_server(home.path) as served:
            at_once_s = first_page_s(browser, served.url)
        started = time.perf_counter()
        with run_server(home.path) as served:
            up_s = time.perf_counter() - started
            time.sleep(_OPENED_AFTER_S)
            pool = Pool.open(home.pool)
            figures = measure(browser, served, pool, options.clicks)
    beginning = {"server_up_s": round(up_s, 2), "first_page_as_soon_as_up_s": round(at_once_s, 2)}
    print(json.dumps({"hands": len(pool), **beginning, **figures}, indent=1))


if __name__ == "__main__":
    main()

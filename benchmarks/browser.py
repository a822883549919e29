"""How soon the browser shows what one asks for among many hands, as JSON.

    python -m benchmarks.browser --work DIR [--hands 500000] [--searches 40]

Hands without pictures are made in DIR, where they are not there yet, with an index and a map of their first
two components. In a headless Chromium without a graphics card: seconds from a click on a hand to its answers
on the screen, and from the end of a lasso to its hands in the tray; of the searches also the server's part,
as the page says it. The frames of the map are `benchmarks.pose_map`.
"""

import argparse
import json
import math
import re
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from playwright.sync_api import Page, ViewportSize

from apps.browser.map.pose_map import PoseMap, find_map_file, maps_folder, read_map_file, store_map
from apps.browser.map.projection import fit_unit_square
from apps.browser.serve import run_server
from benchmarks.clock import say
from benchmarks.video_poses import VideoPoses
from handsim.hand import Hand, format_hand_id
from handsim.home import Home
from handsim.pool import Pool, PoolWriter
from handsim.pool.reader import Categorical
from index import IndexVersion, open_catalog
from tests.apps.browser.screenshot import chromium

_SIZE: Final[ViewportSize] = {"width": 1440, "height": 900}
_TIMEOUT_MS: Final = 300_000
_CORNERS: Final = 60
_CHOSEN: Final = re.compile(r"^[\d,]+ hands? chosen")
_SHARES: Final = (0.14, 0.16, 0.18, 0.2, 0.22)
"""The radius of a lasso, in heights of the map."""


def main() -> None:
    """Make what is missing, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="the home")
    parser.add_argument("--hands", type=int, default=500_000)
    parser.add_argument("--searches", type=int, default=40)
    options = parser.parse_args()
    home = Home(options.work)
    make_home(home, options.hands)
    hands = Pool.open(home.pool).hand_ids
    first = format_hand_id(int(hands[0]))
    with run_server(home.path) as served, chromium() as browser:
        page = browser.new_page(viewport=_SIZE)
        page.set_default_timeout(_TIMEOUT_MS)
        page.goto(f"{served.url}/?hand={first}&stacked=no")
        searches = measure_searches(page, options.searches)
        x, y = find_middle(home)
        address = f"{served.url}/map?view={x:.4f}_{y:.4f}_1.00"
        lassos = [measure_lasso(page, address, share) for share in _SHARES]
    print(json.dumps({"hands": len(hands), "search": searches, "lasso": lassos}, indent=1))


def make_home(home: Home, count: int) -> None:
    """A pool of poses without pictures, an index and a map, as far as they are not there."""
    if not home.pool.exists():
        say(f"{count:,} hands")
        poses = VideoPoses.make(count, seed=0)
        with PoolWriter(home.pool) as writer:
            for row in range(count):
                hand = Hand(
                    hand_id=int(poses.hand_ids[row]),
                    source=f"collection-{row % 3}",
                    video=f"{poses.video[row]:06d}",
                    frame=int(poses.frames[row]),
                    side="left" if row % 2 else "right",
                    score=float(poses.scores[row]),
                    box_px=np.zeros(4, np.float32),
                    keypoints=poses.keypoints[row],
                )
                writer.add(hand, None)
        poses.embedding.save(home.embedding)
        with open_catalog(home.index) as catalog:
            catalog.build(Pool.open(home.pool), poses.embedding)
    with open_catalog(home.index) as catalog, catalog.current() as version:
        if find_map_file(maps_folder(home), version.info) is None:
            store_map(_map_of(Pool.open(home.pool), version), maps_folder(home), version.info)


def _map_of(pool: Pool, version: IndexVersion) -> PoseMap:
    """UMAP would take an hour, and the page is as fast with any map."""
    batches = list(version.scroll(with_vectors=True, with_payload=False))
    ids = np.concatenate([batch.hand_ids for batch in batches])
    vectors = np.concatenate([batch.vectors for batch in batches if batch.vectors is not None])
    rows = pool.rows(ids)
    columns = {
        name: Categorical(column.codes[rows], column.names)
        for name, column in (("sources", pool.sources), ("videos", pool.videos), ("labels", pool.labels))
    }
    places = fit_unit_square(vectors[:, :2].astype(np.float32))
    distances = np.zeros(len(ids), dtype=np.float32)
    return PoseMap(version.info.name, version.info.checksum, len(ids), ids, places, distances, **columns)


def find_middle(home: Home) -> tuple[float, float]:
    """Where the hands of the map lie most densely, in its unit square."""
    with open_catalog(home.index) as catalog, catalog.current() as version:
        file = find_map_file(maps_folder(home), version.info)
    assert file is not None
    counts, across, down = np.histogram2d(*read_map_file(file).places.T, bins=5, range=[(0, 1), (0, 1)])
    column, row = np.unravel_index(int(counts.argmax()), counts.shape)
    return float(across[column : column + 2].mean()), float(down[row : row + 2].mean())


def measure_searches(page: Page, count: int) -> dict[str, Any]:
    """Click on an answer, wait for the answers to that, and so on."""
    seconds, server_ms = [], []
    for number in range(count + 1):
        page.locator(".grid[aria-label^=Answers] .card").nth(23).wait_for()
        page.wait_for_timeout(500)
        card = page.locator(".grid[aria-label^=Answers] .card").nth(number % 24)
        hand = card.get_attribute("data-hand")
        started = time.perf_counter()
        card.locator("button.frame").dispatch_event("click")
        page.locator(f".grid[aria-label='What is asked about'] [data-hand='{hand}']").wait_for()
        page.locator(f".grid[aria-label^=Answers]:not(:has([data-hand='{hand}'])) .card").nth(23).wait_for()
        seconds.append(time.perf_counter() - started)
        told = re.search(r"([\d,]+) ms", page.get_by_text("nearest first").first.inner_text())
        server_ms.append(int(told[1].replace(",", "")) if told else math.nan)
    # The first one warms up.
    return {"seconds": summarise(seconds[1:]), "server_ms": summarise(server_ms[1:])}


def measure_lasso(page: Page, address: str, share: float) -> dict[str, Any]:
    """Draw a circle about the middle of what is in view; nothing is chosen before, and nothing afterwards."""
    page.goto(address)
    page.locator(".legend > *").first.wait_for()
    page.wait_for_timeout(2000)
    box = page.locator(".stage").bounding_box()
    assert box is not None
    x, y, radius = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, share * box["height"]
    page.get_by_role("button", name="Draw around hands").click()
    page.mouse.move(x + radius, y)
    page.mouse.down()
    for corner in range(1, _CORNERS):
        angle = 2 * math.pi * corner / _CORNERS
        page.mouse.move(x + radius * math.cos(angle), y + radius * math.sin(angle))
    status = page.locator(".st-key-tray").get_by_role("status").filter(has_text=_CHOSEN)
    started = time.perf_counter()
    page.mouse.up()
    status.wait_for()
    seconds = time.perf_counter() - started
    hands = status.inner_text().split()[0]
    page.get_by_role("button", name="Clear", exact=True).click()
    status.wait_for(state="hidden")
    return {"hands": hands, "seconds": round(seconds, 3)}


def summarise(values: list[float]) -> dict[str, float]:
    """The median, the 95th percentile, and the largest."""
    half, most = np.percentile(values, [50, 95])
    return {"median": round(float(half), 3), "p95": round(float(most), 3), "max": round(max(values), 3)}


if __name__ == "__main__":
    main()

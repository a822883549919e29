"""A headless Chromium of this computer, and with it the docs' pictures of the browser, of `handsim demo`.

    handsim demo && python -m tests.apps.browser.screenshot handsim-demo docs/pictures

Each page is taken in light and in dark; the site shows that of the reader's theme. Needs Debian's chromium,
and Playwright from the ``dev`` packages.
"""

import argparse
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from apps.browser.jobs import JobReporter
from apps.browser.map.build import make_map
from apps.browser.map.pose_map import find_map_file, maps_folder, store_map
from apps.browser.serve import run_server
from handsim.errors import NotThereError
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.pool import Pool
from index import open_catalog

_SHAPE: Final = "victory"
_MAX_BYTES: Final = 60_000
_TIMEOUT_MS: Final = 300_000
_REST_MS: Final = 1500
"""Charts and the map are drawn after their data are there."""
_QUALITIES: Final = (85, 75, 65, 55, 45, 35)
_SHORTEN: Final = """([path, name]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(path, name);
}"""
"""Where the home lies on this computer is nobody's business."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start it, until the block ends; raises NotThereError where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise NotThereError("there is no Chromium on this computer; install Debian's chromium")
    flags = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


def main() -> None:
    """Take the pages of a home in both themes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, help="what `handsim demo` made")
    parser.add_argument("folder", type=Path, help="where to put the pictures")
    options = parser.parse_args()
    home = Home(options.home)
    _ensure_map(home)
    pool = Pool.open(home.pool)
    hand = format_hand_id(int(pool.hand_ids[pool.labels.values().index(_SHAPE)]))
    pages = {  # name: its address, and what is on it once it is drawn
        "search": (f"?hand={hand}&one_per_video=yes", ".grid[aria-label^=Answers] img >> nth=23"),
        "map": (f"map?hand={hand}&groups=true", ".stage[data-lit='24']"),
        "mining": ("mining", ".grid[aria-label^='Pairs of'] img >> nth=11"),
        "results": ("results", "[data-testid=stImage], [data-testid=stVegaLiteChart]"),
        "index": ("index", "text=Searches use version"),
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    with run_server(home.path) as served, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(_TIMEOUT_MS)
        for ending in ("", "-dark"):
            page.emulate_media(color_scheme="dark" if ending else "light")
            for name, (address, sign) in pages.items():
                page.goto(f"{served.url}/{address}")
                page.locator(sign).first.wait_for()
                page.evaluate(_SHORTEN, [str(home.path.resolve()), home.path.name])
                _save(page, options.folder / f"{name}{ending}.webp")


def _ensure_map(home: Home) -> None:
    with open_catalog(home.index) as catalog, catalog.current() as version:
        if find_map_file(maps_folder(home), version.info) is None:
            store_map(
                make_map(version, JobReporter(home.jobs / "map", "map")), maps_folder(home), version.info
            )


def _save(page: Page, file: Path) -> None:
    """Keep what a page shows once it is at rest, at the best quality that takes few bytes."""
    expect(page.locator("[data-stale='true']")).to_have_count(0, timeout=_TIMEOUT_MS)
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    page.wait_for_timeout(_REST_MS)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in _QUALITIES:
        picture.save(file, quality=quality, method=6)
        if file.stat().st_size <= _MAX_BYTES:
            return


if __name__ == "__main__":
    main()

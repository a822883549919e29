"""A headless Chromium of this computer, and with it README's picture of the search page, of `handsim demo`.

``python -m tests.apps.browser.screenshot handsim-demo docs/search.webp``

Needs Debian's chromium, and Playwright from the ``dev`` packages.
"""

import argparse
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from apps.browser.serve import run_server
from handsim.errors import NotThereError
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.pool import Pool

_SHAPE: Final = "victory"


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
    """Search from a hand of one shape, and keep what is seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, help="what `handsim demo` made")
    parser.add_argument("picture", type=Path, help="where to put it; the name's ending says the format")
    options = parser.parse_args()
    home = Home(options.home)
    pool = Pool.open(home.pool)
    row = pool.labels.values().index(_SHAPE)
    with run_server(home.path) as served, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(f"{served.url}/?hand={format_hand_id(int(pool.hand_ids[row]))}&one_per_video=yes")
        expect(page.locator(".grid[aria-label^=Answers] img")).to_have_count(24, timeout=60_000)
        expect(page.locator("[data-stale='true']")).to_have_count(0)
        page.mouse.move(0, 0)
        taken = Image.open(io.BytesIO(page.screenshot()))
    taken.convert("RGB").save(options.picture, quality=85)


if __name__ == "__main__":
    main()

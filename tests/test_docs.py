"""The site of the docs: built with every link checked, and read in a Chromium with no other host in reach."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, expect

from apps.cli import COMMANDS
from handsim.errors import NotThereError
from tests.apps.browser.screenshot import chromium
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

_TIMEOUT_MS = 90_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the built site."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        build, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


_ASSET = re.compile(
    r"""<(?:script|link|img|source|iframe|object|video|audio)\b[^>]*?\s(?:src|srcset|href|data)="([^"]*)\""""
)
_IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""")


def test_no_page_of_the_site_names_another_host(site: Path) -> None:
    """Fonts, icons, scripts and pictures: what a page makes a browser load, whatever the reader does."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 100
    for file in [*pages, *site.rglob("*.css")]:
        assets = (_IN_CSS if file.suffix == ".css" else _ASSET).findall(file.read_text("utf-8"))
        assert assets or file.suffix == ".css"
        assert not [asset for asset in assets if re.match(r"(\w+:)?//", asset)], file


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as found:
            yield found
    except NotThereError as error:
        pytest.skip(str(error))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(("theme", "width", "height"), [("light", 1440, 900), ("dark", 390, 844)])
def test_the_site_is_read_and_searched_on_any_screen_and_asks_only_its_own_host(
    browser: Browser, address: str, theme: str, width: int, height: int
) -> None:
    asked: list[str] = []
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        page = context.new_page()
        page.set_default_timeout(_TIMEOUT_MS)
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.on("request", lambda request: asked.append(request.url))
        for path in ("", "tutorial/", "the-index/", "cli/handsim-pool/", "python/package-index/"):
            page.goto(f"{address}{path}")
            expect(page.locator("h1")).to_be_visible(timeout=_TIMEOUT_MS)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.goto(address)
        pictures = page.locator(".md-content img:visible")
        expect(pictures).to_have_count(1)
        is_dark = "-dark.webp" in (pictures.get_attribute("src") or "")
        assert is_dark == (theme == "dark")
        if width < 1000:
            page.locator("label[for=__search]").first.click()
        # Typed: the search listens to keys, which `fill` does not press.
        page.get_by_role("textbox", name="Search").press_sequentially("rollback")
        expect(page.locator(".md-search-result__link").first).to_be_visible(timeout=_TIMEOUT_MS)
    assert asked
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def test_every_command_and_every_linked_file_has_its_page(site: Path) -> None:
    for name in COMMANDS:
        assert (site / f"cli/handsim-{name}/index.html").is_file()
    architecture = (site / "architecture/index.html").read_text("utf-8")
    assert 'href="../code/handsim/home.py/"' in architecture
    assert (site / "code/handsim/home.py/index.html").is_file()

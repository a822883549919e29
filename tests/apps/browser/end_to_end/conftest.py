"""The real app in a real web browser: ``handsim browse`` and a headless Chromium; all of it is slow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from apps.browser.serve import run_server
from handsim.errors import NotThereError
from tests.apps.browser.builders import put_map
from tests.apps.browser.screenshot import chromium as headless_chromium
from tests.apps.conftest import copy_home

_TIMEOUT_MS: Final = 90_000
_REPORT_LINKS: Final = """
new MutationObserver((changes) => {
  for (const { target } of changes) if (target.matches("link")) reportLink(target.href);
}).observe(document, { attributes: true, attributeFilter: ["href"], subtree: true });
"""
"""A page's icon is set by its script, and loaded by Chromium beside the page, which reports no request."""
_OWN_NAMES: Final = ("127.0.0.1", "hands.localhost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium of this machine."""
    try:
        with headless_chromium() as browser:
            yield browser
    except NotThereError as error:
        pytest.skip(str(error))


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A window of the test's own; a JavaScript error in it, or a request to another host, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    window = context.new_page()
    window.set_default_timeout(_TIMEOUT_MS)
    expect.set_options(timeout=_TIMEOUT_MS)
    errors: list[str] = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.expose_function("reportLink", lambda url: asked.append(url))
    context.add_init_script(_REPORT_LINKS)
    yield window
    context.close()
    assert not errors
    assert not [url for url in asked if urlsplit(url).hostname not in (None, *_OWN_NAMES)]


@pytest.fixture(scope="session")
def site(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the small home is shown, with a map, for all tests that do not change it."""
    path = copy_home(home, tmp_path_factory.mktemp("site") / "home")
    put_map(path)
    with run_server(path, "--allowed-host", "hands.example") as server:
        yield server.url

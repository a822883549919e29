"""The real app in a real browser: `handsim browse` and a headless Chromium."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from apps.browser.serve import run_server
from handsim.errors import NotThereError
from tests.apps.browser.chromium import chromium as headless_chromium
from tests.apps.conftest import copy_home

_WAIT_MS: Final = 30_000


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium of this machine."""
    with ExitStack() as opened:
        try:
            browser = opened.enter_context(headless_chromium())
        except NotThereError as error:
            pytest.skip(str(error))
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A window of one's own; what goes wrong in it fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    window = context.new_page()
    window.set_default_timeout(_WAIT_MS)
    expect.set_options(timeout=_WAIT_MS)
    errors: list[str] = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    yield window
    context.close()
    assert not errors


@pytest.fixture(scope="session")
def site(chromium: Browser, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the small home is shown, for all tests that change nothing of it."""
    with run_server(copy_home(home, tmp_path_factory.mktemp("site") / "home")) as served:
        yield served.url

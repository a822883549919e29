"""The real app in a real browser: `handsim browse` and a headless Chromium."""

import http.client
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.apps.conftest import copy_home

_STARTED_WITHIN_S: Final = 60
_WAIT_MS: Final = 30_000
_FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

Serve = Callable[..., str]
"""Serves a home and says where: ``serve(home, "--read-only")``."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium of this machine."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("a browser is needed: install Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield browser
        browser.close()


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


@contextmanager
def serving(home: Path, *options: str) -> Iterator[str]:
    """`handsim browse` on a free port, until the block ends; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "apps.cli", "browse", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--no-window", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        _await_health(server, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await_health(server: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise AssertionError(f"the browser ended: {server.communicate()[0]}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/_stcore/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)  # polls a process that is starting
        finally:
            connection.close()
    raise AssertionError(f"the browser was not there after {_STARTED_WITHIN_S} s")


@pytest.fixture(scope="session")
def site(chromium: Browser, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the small home is shown, for all tests that change nothing of it."""
    with serving(copy_home(home, tmp_path_factory.mktemp("site") / "home")) as address:
        yield address

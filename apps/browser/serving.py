"""The browser as a server: how it is started, and one that runs for as long as somebody looks."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apps.browser.settings import BrowserSettings
from apps.browser.theme import THEME
from handsim.errors import HandsimError

_SERVER: Final = Path(__file__).with_name("server.py")
_UPLOAD_MB: Final = 30
_STARTED_WITHIN_S: Final = 120
_ENDED_WITHIN_S: Final = 20


def streamlit_command(settings: BrowserSettings, host: str, port: int, *, window: bool = True) -> list[str]:
    """The command line that serves the browser at ``host``:``port``."""
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "false" if window and "DISPLAY" in os.environ else "true",
        "server.maxUploadSize": str(_UPLOAD_MB),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "type",
        **THEME,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(_SERVER), *flags, "--", *settings.as_arguments()]


@dataclass(frozen=True)
class Served:
    """A running browser."""

    url: str
    """Where it is."""
    pid: int
    """Its process."""


@contextmanager
def serving(home: Path, *options: str) -> Iterator[Served]:
    """``handsim browse`` on a home at a free port of this computer, until the block ends.

    ``options`` are further ones of its command line. Raises HandsimError where it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "apps.cli", "browse", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--no-window", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        _await_health(server, port)
        yield Served(f"http://127.0.0.1:{port}", server.pid)
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(_ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await_health(server: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise HandsimError(f"the browser ended at once: {server.communicate()[0]}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/_stcore/health")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise HandsimError(f"the browser was not there after {_STARTED_WITHIN_S} s; start it by hand to see why")

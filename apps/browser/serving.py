"""The browser as a server: how it is started, and one that runs for as long as somebody looks."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from apps.browser.settings import BrowserSettings
from apps.browser.theme import THEME
from handsim.errors import HandsimError

_SERVER: Final = Path(__file__).with_name("server.py")
_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_UPLOAD_MB: Final = 30
_STARTED_WITHIN_S: Final = 120
_ENDED_WITHIN_S: Final = 20


def streamlit_command(
    settings: BrowserSettings, host: str, port: int, *, names: Sequence[str] = (), window: bool = True
) -> list[str]:
    """The command line that serves the browser at ``host``:``port``.

    At an address of this computer alone it answers to this computer's names and to ``names``: a page
    elsewhere that has its own name lead here, as in DNS rebinding, is refused.
    """
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
    if is_this_computer(host):
        flags += [f"--server.allowedHosts={name}" for name in (*_NAMES, host, *names)]
    return [sys.executable, "-m", "streamlit", "run", str(_SERVER), *flags, "--", *settings.as_arguments()]


def is_this_computer(host: str) -> bool:
    """Whether nobody else can reach that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Served:
    """A running browser."""

    url: str
    """Where it is."""
    pid: int
    """Its process."""


def free_port() -> int:
    """One of this computer at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(home: Path, *options: str, port: int | None = None) -> Iterator[Served]:
    """``handsim browse`` on a home at a port of this computer (any free one), until the block ends.

    ``options`` are further ones of its command line. Raises HandsimError where it does not start.
    """
    port = free_port() if port is None else port
    command = [sys.executable, "-m", "apps.cli", "browse", "--home", str(home), "--port", str(port)]
    with TemporaryFile("w+") as said:  # a pipe that nobody reads would fill, and hold the server up
        server = subprocess.Popen(
            [*command, "--no-window", *options], stdout=said, stderr=subprocess.STDOUT, text=True
        )
        try:
            _await_health(server, port, said)
            yield Served(f"http://127.0.0.1:{port}", server.pid)
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(_ENDED_WITHIN_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _await_health(server: subprocess.Popen[str], port: int, said: IO[str]) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            said.seek(0)
            raise HandsimError(f"the browser ended at once: {said.read()}")
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

"""The browser as a server: how it is started, and one that runs for as long as somebody looks.

What the browser is told when it starts: its own arguments, behind Streamlit's ``--``.

How the browser looks, light and dark: Streamlit's own options.
"""

import argparse
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from handsim.errors import HandsimError
from handsim.processes import module_command


@dataclass(frozen=True)
class BrowserSettings:
    """Which home it shows, and what people may do in it."""

    home: Path
    """The directory with the pool and the runs."""
    index: str | None = None
    """The index's address; None: the home's."""
    model: Path | None = None
    """The model that finds hands in uploaded pictures; None: the one in the cache."""
    actions: bool = True
    """Whether versions may be built, published, rolled back and removed from the page."""

    def to_arguments(self) -> list[str]:
        """What `from_arguments` reads back."""
        words = ["--home", str(self.home)]
        if self.index is not None:
            words += ["--index", self.index]
        if self.model is not None:
            words += ["--model", str(self.model)]
        return words if self.actions else [*words, "--read-only"]

    @classmethod
    def from_arguments(cls, words: Sequence[str]) -> "BrowserSettings":
        """The settings out of a command line that `to_arguments` made."""
        parser = argparse.ArgumentParser(prog="apps/browser/entry/server.py")
        parser.add_argument("--home", type=Path, required=True)
        parser.add_argument("--index")
        parser.add_argument("--model", type=Path)
        parser.add_argument("--read-only", action="store_true")
        given = parser.parse_args(list(words))
        return cls(given.home, given.index, given.model, actions=not given.read_only)


_ACCENT_LIGHT: Final = "#006e8c"
_ACCENT_DARK: Final = "#1a7f9b"
"""White is written on both."""
_SERIES_LIGHT: Final = (
    '["#006e8c", "#c8553d", "#a87900", "#00805c", "#7a4fa3", "#b3478b", "#3a6fd8", "#5c636e"]'
)
_SERIES_DARK: Final = (
    '["#4fc3dc", "#ff8a70", "#f2b84b", "#4fcf9f", "#b99be8", "#ef8fc9", "#7fb0ff", "#a9b2bd"]'
)

THEME: Final[dict[str, str]] = {
    "theme.baseRadius": "8px",
    "theme.baseFontSize": "15",
    "theme.headingFontSizes": '["1.6rem", "1.25rem", "1.05rem", "1rem", "1rem", "1rem"]',
    "theme.headingFontWeights": "[600, 600, 600, 600, 600, 600]",
    "theme.showWidgetBorder": "true",
    "theme.light.primaryColor": _ACCENT_LIGHT,
    "theme.light.linkColor": _ACCENT_LIGHT,
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f1f4f6",
    "theme.light.textColor": "#14181b",
    "theme.light.borderColor": "#d5dbe0",
    "theme.light.chartCategoricalColors": _SERIES_LIGHT,
    "theme.dark.primaryColor": _ACCENT_DARK,
    "theme.dark.linkColor": "#5cc4de",
    "theme.dark.backgroundColor": "#14181b",
    "theme.dark.secondaryBackgroundColor": "#20262b",
    "theme.dark.textColor": "#e8ecef",
    "theme.dark.borderColor": "#3a434a",
    "theme.dark.chartCategoricalColors": _SERIES_DARK,
}
"""Option -> value. One accent, the same as the report's and the montages'."""


# In a folder of its own: Streamlit puts the folder of its script first on sys.path, where apps/browser/index
# would be imported instead of the package index.
_SERVER: Final = Path(__file__).parent / "entry" / "server.py"
_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_UPLOAD_MB: Final = 30
_STARTED_WITHIN_S: Final = 120
_ENDED_WITHIN_S: Final = 20


def build_streamlit_command(
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
    if is_loopback(host):
        flags += [f"--server.allowedHosts={name}" for name in (*_NAMES, host, *names)]
    return module_command("streamlit", "run", str(_SERVER), *flags, "--", *settings.to_arguments())


def is_loopback(host: str) -> bool:
    """Whether nobody else can reach that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class RunningServer:
    """A running browser."""

    url: str
    """Where it is."""
    pid: int
    """Its process."""


def find_free_port() -> int:
    """One of this computer at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run_server(home: Path, *options: str, port: int | None = None) -> Iterator[RunningServer]:
    """``handsim browse`` on a home at a port of this computer (any free one), until the block ends.

    ``options`` are further ones of its command line. Raises HandsimError where it does not start.
    """
    port = find_free_port() if port is None else port
    command = module_command("apps.cli", "browse", "--home", str(home), "--port", str(port))
    with TemporaryFile("w+") as said:  # a pipe that nobody reads would fill, and hold the server up
        server = subprocess.Popen(
            [*command, "--no-window", *options], stdout=said, stderr=subprocess.STDOUT, text=True
        )
        try:
            _await_health(server, port, said)
            yield RunningServer(f"http://127.0.0.1:{port}", server.pid)
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

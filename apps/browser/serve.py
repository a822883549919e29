"""The browser as a server: its theme, its settings, its command line, and a server that runs for a while.

``streamlit run entry/server.py OPTIONS -- SETTINGS`` starts it. Streamlit's own options stand before
the ``--``, ours (`BrowserSettings`) behind it.
"""

import argparse
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final
from urllib.request import urlopen

from handsim.errors import HandsimError
from handsim.processes import module_command

_SERVER: Final = Path(__file__).parent / "entry" / "server.py"
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_UPLOAD_MB: Final = 200
"""Far above `UPLOAD_LIMIT_MB`: the page says what is wrong in a sentence, Streamlit in a word that stays."""
_START_TIMEOUT_S: Final = 120
_STOP_TIMEOUT_S: Final = 20

_COLOURS: Final = {
    # White text is written on the primary colours.
    "primaryColor": ("#006e8c", "#1a7f9b"),
    "linkColor": ("#006e8c", "#5cc4de"),
    "backgroundColor": ("#ffffff", "#14181b"),
    "secondaryBackgroundColor": ("#f1f4f6", "#20262b"),
    "textColor": ("#14181b", "#e8ecef"),
    "borderColor": ("#d5dbe0", "#3a434a"),
    "chartCategoricalColors": (
        '["#006e8c", "#c8553d", "#a87900", "#00805c", "#7a4fa3", "#b3478b", "#3a6fd8", "#5c636e"]',
        '["#4fc3dc", "#ff8a70", "#f2b84b", "#4fcf9f", "#b99be8", "#ef8fc9", "#7fb0ff", "#a9b2bd"]',
    ),
}
"""Streamlit option -> (light, dark); the accent is that of the report and of the montages."""

THEME: Final[dict[str, str]] = {
    "theme.baseRadius": "8px",
    "theme.baseFontSize": "15",
    "theme.headingFontSizes": '["1.6rem", "1.05rem", "1.05rem", "1rem", "1rem", "1rem"]',
    "theme.headingFontWeights": "[600, 600, 600, 600, 600, 600]",
    "theme.showWidgetBorder": "true",
    **{f"theme.light.{name}": light for name, (light, _) in _COLOURS.items()},
    **{f"theme.dark.{name}": dark for name, (_, dark) in _COLOURS.items()},
}


@dataclass(frozen=True)
class BrowserSettings:
    home: Path
    """The directory with the pool and the runs."""
    index: str | None = None
    """The index's address; None: the home's own."""
    model: Path | None = None
    """The model that finds hands in uploaded pictures; None: the one in the cache."""
    actions: bool = True
    """Whether the page may change the home: add photographs, build, publish and remove versions."""
    folders: bool = False
    """Whether photographs may be added from any folder of this computer: by its own visitors, who can read
    these anyway, and by those who signed in and may manage the home."""

    def to_arguments(self) -> list[str]:
        """The command line that `from_arguments` reads."""
        arguments = ["--home", str(self.home)]
        if self.index is not None:
            arguments += ["--index", self.index]
        if self.model is not None:
            arguments += ["--model", str(self.model)]
        arguments += ["--folders"] if self.folders else []
        return arguments if self.actions else [*arguments, "--read-only"]

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> "BrowserSettings":
        """The settings in a command line of `to_arguments`."""
        parser = argparse.ArgumentParser(prog="apps/browser/entry/server.py")
        parser.add_argument("--home", type=Path, required=True)
        parser.add_argument("--index")
        parser.add_argument("--model", type=Path)
        parser.add_argument("--read-only", action="store_true")
        parser.add_argument("--folders", action="store_true")
        options = parser.parse_args(list(arguments))
        return cls(
            options.home, options.index, options.model, actions=not options.read_only, folders=options.folders
        )


def build_streamlit_command(
    settings: BrowserSettings,
    host: str,
    port: int,
    *,
    names: Sequence[str] = (),
    base_path: str = "",
    window: bool = True,
) -> list[str]:
    """The command line that serves the browser at ``host``:``port``, below ``base_path`` (as ``/hands``).

    On a loopback address, the server answers only requests for this computer's names and for ``names``. This
    stops DNS rebinding, where a foreign page lets its own name point to this computer.
    """
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "false" if window and "DISPLAY" in os.environ else "true",
        "server.baseUrlPath": base_path,
        "server.maxUploadSize": str(_UPLOAD_MB),
        "server.fileWatcherType": "none",
        "global.disableWidgetStateDuplicationWarning": "true",  # `session.set_widget` says why it is meant
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "type",
        **THEME,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    if is_loopback(host):
        flags += [f"--server.allowedHosts={name}" for name in (*_LOCAL_NAMES, host, *names)]
    return module_command("streamlit", "run", str(_SERVER), *flags, "--", *settings.to_arguments())


def open_home(settings: BrowserSettings) -> None:
    """Import the pages and open the home. The pages report what is absent or does not answer."""
    # Not imported above: these imports take as long as opening the pool does.
    import apps.browser.entry.app  # noqa: F401
    from apps.browser.library import get_library

    with suppress(HandsimError):
        get_library(settings).open_all()


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class RunningServer:
    url: str
    pid: int


@contextmanager
def run_server(
    home: Path, *options: str, port: int | None = None, base_path: str = ""
) -> Iterator[RunningServer]:
    """Run ``handsim browse`` on a home until the block ends, at a port of this computer (None: a free one).

    ``options`` are added to its command line. Raises HandsimError if it does not start.
    """
    port = find_free_port() if port is None else port
    command = module_command("apps.cli", "browse", "--home", str(home), "--port", str(port))
    url = f"http://127.0.0.1:{port}{base_path}"
    with TemporaryFile("w+") as output:  # not a pipe: nobody reads it, and a full pipe blocks the server
        server = subprocess.Popen(
            [*command, "--no-window", f"--base-path={base_path}", *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _await_health(server, url, output)
            yield RunningServer(url, server.pid)
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def find_free_port() -> int:
    """A port of this computer on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(server: subprocess.Popen[str], url: str, output: IO[str]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            output.seek(0)
            raise HandsimError(f"the browser ended at once: {output.read()}")
        with suppress(OSError), urlopen(f"{url}/_stcore/health", timeout=1):
            return
        time.sleep(0.1)
    raise HandsimError(
        f"the browser did not answer within {_START_TIMEOUT_S} s; run `handsim browse` to see its output"
    )

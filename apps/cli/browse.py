"""``handsim browse``: the browser on a home, as a Streamlit server in place of this process."""

import argparse
import errno
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from apps.browser.serve import BrowserSettings, build_streamlit_command, is_loopback
from apps.browser.sign_in import read_sign_in
from apps.cli.console import find_home
from apps.extras import require_library
from handsim.errors import HandsimError, NotThereError

HOST: Final = "127.0.0.1"
PORT: Final = 8501
_MAX_PORT: Final = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line. A container sets address and port in Streamlit's own variables."""
    host = os.environ.get("STREAMLIT_SERVER_ADDRESS", HOST)
    parser.add_argument("--host", default=host, help="the address to listen at (%(default)s)")
    port = os.environ.get("STREAMLIT_SERVER_PORT", str(PORT))
    parser.add_argument("--port", type=_parse_port, default=port, help="the port (%(default)s)")
    line = "a name under which a proxy on this computer offers the page; repeatable"
    parser.add_argument("--allowed-host", action="append", default=[], metavar="NAME", help=line)
    line = "the path below which a proxy offers the page, such as /hands/ (default: /)"
    parser.add_argument("--base-path", type=_parse_base_path, default="", metavar="PATH", help=line)
    parser.add_argument("--model", type=Path, metavar="FILE", help="the model that finds hands in images")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument(
        "--read-only",
        action="store_true",
        help="nobody builds, publishes or removes versions from the page, nor writes lists",
    )
    actions.add_argument(
        "--allow-actions", action="store_true", help="allow that even if other computers can reach the page"
    )
    parser.add_argument("--no-window", action="store_true", help="do not open a browser window")
    parser.set_defaults(run=_run)


def _parse_port(text: str) -> int:
    """Also of the default, which argparse passes here too: it may come from the variable."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no port from 1 to {_MAX_PORT}; give one with --port N or in STREAMLIT_SERVER_PORT"
        )
    return int(text)


def _parse_base_path(text: str) -> str:
    """The path without its last slash: empty, or such as ``/hands``."""
    path = text.strip("/")
    if path and not re.fullmatch(r"(?!\.)[\w.~-]+(/(?!\.)[\w.~-]+)*", path, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no path of letters, digits and -._~ between slashes; give one such as /hands/"
        )
    return f"/{path}" if path else ""


def _run(options: argparse.Namespace) -> NoReturn:
    home = find_home(options)
    if not home.path.is_dir():
        raise NotThereError(
            f"there is no home at {home.path}; give one with --home DIR, make an empty one (mkdir), or let "
            "`handsim demo` make one"
        )
    sign_in = read_sign_in(home)
    if sign_in is not None:
        require_library("authlib")
        options.allowed_host += [] if sign_in.address is None else [urlsplit(sign_in.address).hostname]
    is_safe = sign_in is not None or is_loopback(options.host)
    settings = BrowserSettings(
        home.path.resolve(),
        options.index,
        options.model,
        actions=not options.read_only and (options.allow_actions or is_safe),
        folders=is_safe,
    )
    browse(
        settings,
        options.host,
        options.port,
        names=options.allowed_host,
        base_path=options.base_path,
        window=not options.no_window,
        address=None if sign_in is None else sign_in.find_address(options.port),
    )


def check_port(host: str, port: int) -> None:
    """Raise HandsimError if no server can listen there, before one starts and says half of it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise HandsimError(
            f"--host {host} is no address ({error.strerror}); give one of this computer"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise HandsimError(
                f"port {port} is in use, perhaps by another browser of handsim; give another one, as in "
                f"--port {port % _MAX_PORT + 1}"
            ) from error
        reason = os.strerror(error.errno or 0)
        raise HandsimError(
            f"no server can listen at {host}:{port} ({reason}); give another --host or --port"
        ) from error


def browse(
    settings: BrowserSettings,
    host: str,
    port: int,
    *,
    names: Sequence[str] = (),
    base_path: str = "",
    window: bool = True,
    address: str | None = None,
) -> NoReturn:
    """Replace this process by the server; ``address`` is where people open it, if not at host and port."""
    require_library("streamlit")
    check_port(host, port)
    command = build_streamlit_command(settings, host, port, names=names, base_path=base_path, window=window)
    address = f"{address or f'http://{host}:{port}'}{base_path}"
    print(f"Browsing {settings.home} at {address} (Ctrl-C ends it)", flush=True)
    os.execv(command[0], command)

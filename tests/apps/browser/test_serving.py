"""The browser as a server, to which others may talk than its own pages."""

import base64
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from apps.browser.serve import BrowserSettings, build_streamlit_command, run_server


def upgraded(url: str, host: str) -> str:
    """The first line of the answer to a page under ``host`` that opens the socket which all actions go by."""
    port = urlsplit(url).port
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}:{port}",
        f"Origin: http://{host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: streamlit",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        return connection.recv(100).decode().splitlines()[0]


def test_only_pages_of_its_own_names_may_talk_to_it(home: Path) -> None:
    """One elsewhere whose name was made to lead to this computer (DNS rebinding) could build and remove."""
    with run_server(home, "--allowed-host", "hands.example") as served:
        for name in ("localhost", "127.0.0.1", "hands.example"):
            assert " 101 " in upgraded(served.url, name), name
        assert " 403 " in upgraded(served.url, "evil.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5"])
def test_where_others_may_look_any_name_will_do(host: str) -> None:
    command = build_streamlit_command(BrowserSettings(Path("home")), host, 8501)
    assert not any("allowedHosts" in word for word in command)

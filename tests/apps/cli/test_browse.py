"""``handsim browse``: what it starts, for whom, and what people may do there."""

import os
import re
import socket
from pathlib import Path

import pytest

from apps.browser.serve import BrowserSettings
from apps.cli import main
from tests.apps.commands import Capture, run_refused


class Replaced(Exception):
    """Stands for the process that would go on in this one's place."""


def command_line(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> list[str]:
    """The command line that the command turns into."""

    def execute(program: str, command: list[str]) -> None:
        raise Replaced(*command)

    monkeypatch.setattr(os, "execv", execute)
    monkeypatch.setattr("apps.cli.browse.check_port", lambda host, port: None)  # hosts of other computers
    with pytest.raises(Replaced) as replaced:
        main(["browse", *map(str, arguments)])
    return [*replaced.value.args]


def allows_actions(command: list[str]) -> bool:
    return BrowserSettings.from_arguments(command[command.index("--") + 1 :]).actions


@pytest.mark.parametrize(
    ("options", "actions"),
    [
        ([], True),
        (["--host", "localhost"], True),
        (["--host", "::1"], True),
        (["--read-only"], False),
        (["--host", "0.0.0.0"], False),
        (["--host", "192.168.1.5"], False),
        (["--host", "some.name"], False),
        (["--host", "0.0.0.0", "--allow-actions"], True),
    ],
)
def test_only_this_computer_may_act_unless_others_are_allowed_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], actions: bool
) -> None:
    assert allows_actions(command_line(monkeypatch, "--home", tmp_path, *options)) == actions


def test_it_listens_to_this_computer_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = command_line(monkeypatch, "--home", tmp_path, "--port", "8765")
    assert {"--server.address=127.0.0.1", "--server.port=8765"} <= {*command}
    assert "--browser.gatherUsageStats=false" in command


def test_a_container_sets_address_and_port_in_streamlits_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "8502")
    command = command_line(monkeypatch, "--home", tmp_path)
    assert {"--server.address=0.0.0.0", "--server.port=8502"} <= {*command}
    assert not allows_actions(command)


@pytest.mark.parametrize("port", ["", "http", "85.1", "-1", "0", "65536"])
def test_what_is_no_port_is_refused_where_one_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, port: str
) -> None:
    command = ["browse", "--home", str(tmp_path)]
    for variable, arguments in (("8502", [*command, f"--port={port}"]), (port, command)):
        monkeypatch.setenv("STREAMLIT_SERVER_PORT", variable)
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"handsim browse: error: argument --port: {port!r} is no port from 1 to")
    with pytest.raises(SystemExit, match="0"):
        main(["browse", "--help"])
    assert "--server.port=8765" in command_line(monkeypatch, "--home", tmp_path, "--port", "8765")


@pytest.mark.parametrize(("path", "base"), [("/hands/", "/hands"), ("a/b", "/a/b"), ("/", ""), ("", "")])
def test_a_base_path_is_written_with_any_slashes(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, path: str, base: str
) -> None:
    command = command_line(monkeypatch, "--home", tmp_path, "--base-path", path)
    assert f"--server.baseUrlPath={base}" in command
    assert f"http://127.0.0.1:8501{base} " in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/a b/", "/../etc", "/hände/", "a//b", "http://hands.example/", "/?x"])
def test_what_is_no_base_path_is_refused(capsys: Capture, tmp_path: Path, path: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["browse", "--home", str(tmp_path), "--base-path", path])
    assert f"argument --base-path: {path!r} is no path" in capsys.readouterr().err


def test_a_home_that_is_not_there_is_refused(capsys: Capture, tmp_path: Path) -> None:
    assert "there is no home at" in run_refused(capsys, "browse", "--home", tmp_path / "none")


def test_a_place_where_no_server_can_listen_is_refused_in_one_line(capsys: Capture, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):
            words = ("browse", "--home", tmp_path, "--port", str(port), "--host", host)
            assert re.search(f"port {port} is in use, .*--port [0-9]+", run_refused(capsys, *words))
    for host, message in (("no.such.name.invalid", "is no address"), ("192.0.2.1", "give another --host")):
        assert message in run_refused(capsys, "browse", "--home", tmp_path, "--host", host)


def test_settings_survive_the_command_line() -> None:
    all_set = BrowserSettings(Path("h"), "http://server:6333", Path("m.task"), actions=False, folders=True)
    for settings in (BrowserSettings(Path("/a home")), all_set):
        assert BrowserSettings.from_arguments(settings.to_arguments()) == settings

"""``handsim browse``: what it starts, for whom, and what people may do there."""

import os
from pathlib import Path

import pytest

from apps.browser.serve import BrowserSettings
from apps.cli import main
from tests.apps.commands import run_refused


class Replaced(Exception):
    """Stands for the process that would go on in this one's place."""


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> list[str]:
    """The command line that the command turns into."""
    lines: list[list[str]] = []

    def execute(program: str, command: list[str]) -> None:
        lines.append(command)
        raise Replaced

    monkeypatch.setattr(os, "execv", execute)
    with pytest.raises(Replaced):
        main(["browse", *map(str, arguments)])
    return lines[0]


def parse_settings(command: list[str]) -> BrowserSettings:
    return BrowserSettings.from_arguments(command[command.index("--") + 1 :])


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
def test_who_may_act(monkeypatch: pytest.MonkeyPatch, home: Path, options: list[str], actions: bool) -> None:
    assert parse_settings(started(monkeypatch, "--home", home, *options)).actions == actions


def test_it_listens_to_this_computer_alone(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    command = started(monkeypatch, "--home", home, "--port", "8765")
    assert "--server.address=127.0.0.1" in command
    assert "--server.port=8765" in command
    assert "--browser.gatherUsageStats=false" in command


def test_a_container_says_it_in_streamlits_words(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "8502")
    command = started(monkeypatch, "--home", home)
    assert "--server.address=0.0.0.0" in command
    assert "--server.port=8502" in command
    assert not parse_settings(command).actions


@pytest.mark.parametrize("port", ["", "http", "85.1", "-1", "0", "65536"])
def test_a_port_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path, port: str
) -> None:
    command = ["browse", "--home", str(home)]
    monkeypatch.setattr(os, "execv", lambda program, command: pytest.fail("it was started"))
    for variable, arguments in ((port, command), ("8502", [*command, f"--port={port}"])):
        monkeypatch.setenv("STREAMLIT_SERVER_PORT", variable)
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"handsim browse: error: argument --port: {port!r} is no port from 1 to")


def test_a_port_that_is_none_is_no_matter_where_none_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "http")
    with pytest.raises(SystemExit, match="0"):
        main(["browse", "--help"])
    assert "--port" in capsys.readouterr().out
    assert "--server.port=8765" in started(monkeypatch, "--home", home, "--port", "8765")


def test_no_home(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "there is no home at" in run_refused(capsys, "browse", "--home", tmp_path / "none")


@pytest.mark.parametrize(
    "settings",
    [
        BrowserSettings(Path("/a home")),
        BrowserSettings(Path("h"), "http://server:6333", Path("m.task"), actions=False),
    ],
)
def test_settings_survive_the_command_line(settings: BrowserSettings) -> None:
    assert BrowserSettings.from_arguments(settings.to_arguments()) == settings

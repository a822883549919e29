"""Commands as a user runs them, inside this process, and what they print."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.cli import main
from handsim import Pool
from handsim.hand import format_hand_id

Capture = pytest.CaptureFixture[str]


def run_ok(capsys: Capture, *arguments: str | Path) -> str:
    """What a command prints; it must succeed."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def run_json(capsys: Capture, *arguments: str | Path) -> Any:
    """The answer of a command with ``--json``."""
    return json.loads(run_ok(capsys, *arguments, "--json"))


def run_refused(capsys: Capture, *arguments: str | Path) -> str:
    """The error of a command, which must print that one line only and return 2."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("handsim: ")
    assert captured.out == ""
    return captured.err


def pick_hand(home: Path, row: int = 7) -> str:
    """The id of the hand in a row of the home's pool."""
    return format_hand_id(int(Pool.open(home / "pool").hand_ids[row]))


def run_python(code: str, *arguments: str | Path) -> str:
    """What a fresh Python prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def start_command(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The console script as from a shell, on one core, in a session of its own."""
    command = [str(Path(sys.executable).with_name("handsim")), *arguments, "--home", str(home)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )

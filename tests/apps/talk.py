"""Commands run as a person would, and what they say."""

import json
from pathlib import Path
from typing import Any

import pytest

from apps.cli import main
from handsim import Pool
from handsim.hand import format_hand_id


def some_hand(home: Path, row: int = 7) -> str:
    return format_hand_id(int(Pool.open(home / "pool").hand_ids[row]))


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command prints that must succeed."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def ask(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """What it answers in JSON."""
    return json.loads(said(capsys, *arguments, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that must fail says: one line, exit code 2."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("handsim: ")
    assert captured.out == ""
    return captured.err

"""The README's promises, kept by running them."""

import re
from pathlib import Path

import pytest

from apps.cli import COMMANDS
from handsim.synthetic import SyntheticConfig, synthesise_pool

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesise_pool(
        tmp_path / "handsim-home" / "pool", SyntheticConfig(videos=4, hands_per_video=6, size_px=64)
    )
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    monkeypatch.chdir(tmp_path)
    exec(compile(example.group(1), "README.md", "exec"), {})
    assert "(24, 3) (64, 64, 3)" in capsys.readouterr().out


def test_install_and_example_come_first() -> None:
    lines = README.splitlines()
    assert any("make demo" in line for line in lines[:10])
    assert any("handsim query" in line for line in lines[:20])


def test_every_command_has_its_line() -> None:
    for command in COMMANDS:
        assert f"| `handsim {command}" in README

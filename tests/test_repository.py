"""The repository: who may import whom, what the README promises, and what is installed."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.cli import COMMANDS
from handsim.synthetic import SyntheticConfig, synthesise_pool

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()
PACKAGES = ("handsim", "index", "training", "apps")
"""Each may import from those before it."""
FILES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
DATA = (".css", ".html", ".js", ".yaml", ".typed")


def imported_packages(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def test_a_package_imports_only_from_those_before_it() -> None:
    assert len(FILES) > 50
    for file in FILES:
        package = file.relative_to(REPOSITORY).parts[0]
        above = PACKAGES[PACKAGES.index(package) + 1 :]
        assert not set(imported_packages(file)) & {*above, "tests", "benchmarks", "pickle"}, file


def test_nothing_is_called_utils_and_files_stay_small() -> None:
    for file in FILES:
        assert file.stem not in {"utils", "common", "helpers"}, file
        assert len(file.read_text().splitlines()) <= 560, file
    for file in tracked_files():
        assert file.stat().st_size < 500_000, file


def tracked_files() -> list[Path]:
    """The files that git knows; none where this is no clone."""
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return [file for name in tracked.stdout.splitlines() if (file := REPOSITORY / name).is_file()]


def test_the_only_binary_files_are_small_pictures_of_the_docs_in_both_themes() -> None:
    pictures = REPOSITORY / "docs" / "pictures"
    for file in tracked_files():
        if b"\0" in file.read_bytes():
            assert (file.parent, file.suffix) == (pictures, ".webp"), file
            assert file.stat().st_size <= 60_000, file
    names = {file.stem for file in pictures.glob("*.webp")}
    light = {name for name in names if not name.endswith("-dark")}
    assert light
    assert names == light | {f"{name}-dark" for name in light}


def test_the_readmes_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = SyntheticConfig(videos=4, hands_per_video=6, size_px=64)
    synthesise_pool(tmp_path / "handsim-home" / "pool", world)
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    monkeypatch.chdir(tmp_path)
    exec(compile(example.group(1), "README.md", "exec"), {})
    assert "(24, 3) (64, 64, 3)" in capsys.readouterr().out


def test_every_command_has_a_line_in_the_readme() -> None:
    for command in COMMANDS:
        assert f"| `handsim {command}" in README


def wheel_of(checkout: Path) -> set[str]:
    """The files in a wheel of a checkout where handsim was used."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, checkout / package, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, checkout)
    for file in (
        *("handsim-demo/report.html", "handsim-home/runs/a/config.yaml", "apps-old/cli/main.py"),
        *("tests/test_repository.py", "benchmarks/__init__.py", "recipes/simhand.yaml"),
    ):
        (checkout / file).parent.mkdir(parents=True)
        (checkout / file).write_text("")
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, "."], cwd=checkout, check=True, capture_output=True)
    with zipfile.ZipFile(next(checkout.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


@pytest.mark.slow
def test_a_wheel_holds_all_code_and_data_of_the_packages_and_nothing_else(tmp_path: Path) -> None:
    names = wheel_of(tmp_path)
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    assert len(top) == len(PACKAGES) + 1
    for package in PACKAGES:
        for file in (REPOSITORY / package).rglob("*"):
            if file.suffix in (".py", *DATA) or file.name == "py.typed":
                assert str(file.relative_to(REPOSITORY)) in names

"""The houses and who may import whom: handsim <- index <- training <- apps."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
HOUSES = ("handsim", "index", "training", "apps")
FILES = sorted(path for house in HOUSES for path in (REPOSITORY / house).rglob("*.py"))


def imported_packages(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_right_imports_left_never_the_reverse(file: Path) -> None:
    house = file.relative_to(REPOSITORY).parts[0]
    above = HOUSES[HOUSES.index(house) + 1 :]
    assert not set(imported_packages(file)) & {*above, "tests", "benchmarks", "pickle"}


def test_there_are_files_to_check() -> None:
    assert len(FILES) > 50


def test_nothing_is_called_utils_and_files_stay_small() -> None:
    for file in FILES:
        assert file.stem not in {"utils", "common", "helpers"}, file
        assert len(file.read_text().splitlines()) <= 560, file
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    for name in tracked.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            assert (REPOSITORY / name).stat().st_size < 500_000, name

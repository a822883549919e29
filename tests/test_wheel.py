"""What is installed: the four packages with their data, whatever else lies in the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("handsim", "index", "training", "apps")
DATA = (".css", ".html", ".js", ".yaml", ".typed")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a wheel of a checkout where handsim was used."""
    checkout = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, checkout)
    for file in (
        "handsim-demo/report.html",
        "handsim-home/runs/a/config.yaml",
        "apps-old/cli/main.py",
        "tests/test_wheel.py",
        "benchmarks/__init__.py",
        "recipes/simhand.yaml",
    ):
        (checkout / file).parent.mkdir(parents=True)
        (checkout / file).write_text("")
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, "."], cwd=checkout, check=True, capture_output=True)
    with zipfile.ZipFile(next(checkout.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


@pytest.mark.slow
def test_a_wheel_holds_the_packages_and_nothing_else(names: set[str]) -> None:
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    assert len(top) == len(PACKAGES) + 1


@pytest.mark.slow
def test_a_wheel_holds_all_code_and_data_of_the_packages(names: set[str]) -> None:
    for package in PACKAGES:
        for file in (REPOSITORY / package).rglob("*"):
            if file.suffix in (".py", *DATA) or file.name == "py.typed":
                assert str(file.relative_to(REPOSITORY)) in names

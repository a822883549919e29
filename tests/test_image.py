"""What the image promises: pinned, not root, nothing left behind, and in it the package and nothing else."""

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
FINAL = INSTRUCTIONS[INSTRUCTIONS.rindex("FROM ") :]
IGNORED = (REPOSITORY / ".dockerignore").read_text().splitlines()


def goes_in(path: str) -> bool:
    """Whether .dockerignore lets ``path`` in: the last pattern that matches it or a folder above decides."""
    way = [PurePosixPath(path), *PurePosixPath(path).parents][:-1]
    let_in = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        if pattern.startswith("**/"):
            matches = any(fnmatch(step.name, pattern.removeprefix("**/")) for step in way)
        else:
            assert "/" not in pattern, "this test reads patterns of one component only"
            matches = fnmatch(way[-1].name, pattern)
        if matches:
            let_in = line.startswith("!")
    return let_in


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "handsim-home/pool/hands.tar",
        "handsim-demo/report.html",
        "runs/simhand/last.ckpt",
        "tests/test_image.py",
        "handsim/__pycache__/hand.cpython-312.pyc",
    ],
)
def test_no_key_no_hands_and_no_history_go_in(path: str) -> None:
    assert not goes_in(path)


@pytest.mark.parametrize(
    "path",
    [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "handsim/pool/reader.py",
        "index/py.typed",
        "apps/report.html",
        "training/recipes/simhand.yaml",
        "training/experiments/shipped/main.yaml",
    ],
)
def test_all_of_the_package_goes_in(path: str) -> None:
    assert (REPOSITORY / path).exists()
    assert goes_in(path)


def test_the_python_is_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", INSTRUCTIONS, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+", base) for base in bases)
    assert len(set(bases)) == 1  # the environment is copied between them


def test_it_runs_as_a_fixed_user_that_is_not_root() -> None:
    assert "useradd --uid 1000 " in FINAL
    assert re.findall(r"^USER (.*)$", FINAL, re.MULTILINE) == ["1000:1000"]
    assert 'ENTRYPOINT ["handsim"]' in FINAL


def test_nothing_to_build_with_and_no_cache_stays() -> None:
    (packages,) = re.findall(
        r"apt-get install --yes --no-install-recommends ([^&]+?)\s*&& rm -rf /var/lib/apt/lists/\*", FINAL
    )
    assert all(re.fullmatch(r"lib[a-z0-9.-]+", package) for package in packages.split())
    assert "-dev" not in packages
    assert INSTRUCTIONS.count("apt-get install") == 1
    assert "pip install" not in FINAL
    assert INSTRUCTIONS.index("PIP_NO_CACHE_DIR=1") < INSTRUCTIONS.index("pip install")


def test_what_is_written_while_it_runs_has_its_place() -> None:
    assert "--mode=1777 /home/handsim/.cache" in FINAL
    for place in ("HANDSIM_HOME=/home/handsim/handsim-home", "XDG_CACHE_HOME=/home/handsim/.cache"):
        assert place in FINAL


def test_no_index_is_built_in() -> None:
    assert not re.search(r"https?://", DOCKERFILE)
    for argument in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        assert re.search(rf"^ARG {argument}$", INSTRUCTIONS, re.MULTILINE)
        assert argument not in FINAL


def test_git_leaves_the_key_out() -> None:
    assert ".env" in (REPOSITORY / ".gitignore").read_text().splitlines()

"""Commands without the libraries of an extra: what they need is said in one line, and the rest works."""

import subprocess
import sys
from pathlib import Path

import pytest

from apps.cli import COMMANDS
from apps.extras import EXTRAS, explain_missing_library
from tests.apps.commands import pick_hand

RUN = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

sys.meta_path.insert(0, Refuse())
from apps.cli import main
sys.exit(main(sys.argv[2:]))
"""


def run_without(libraries: object, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """A command in a process that cannot import these libraries."""
    words = [",".join(map(str, libraries)), *map(str, arguments)]  # type: ignore[call-overload]
    return subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_who_only_searches_needs_no_extra(own_home: Path, tmp_path: Path) -> None:
    at = ("--home", own_home)
    for command in (
        ("embedding", "fit"),
        ("embedding", "show"),
        ("index", "build"),
        ("index", "verify"),
        ("query", "--hand", pick_hand(own_home), "--montage", tmp_path / "answer.png"),
        ("mine", "--out", tmp_path / "pairs.parquet", "--workers", "2"),
        ("evaluate", "retrieval"),
        ("pool", "subset", "5", "--to", tmp_path / "small"),
    ):
        done = run_without(EXTRAS, *command, *at)
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("torch", ("pretrain", "simhand")),
        ("lightning", ("finetune", "freihand")),
        ("jsonargparse", ("experiment", "run", "main")),
        ("yaml", ("experiment", "table", "main")),
        ("torch", ("predict", "photo.jpg", "--checkpoint", "run")),
        ("torch", ("evaluate", "pose", "run")),
        ("safetensors", ("export", "run", "--out", "run.pth")),
        ("torch", ("synth", "--videos", "13", "--size", "64")),
        ("torch", ("embedding", "fit", "--encoder", "resnet18")),
        ("torch", ("demo",)),
        ("umap", ("demo",)),
        ("streamlit", ("browse",)),
    ],
)
def test_what_a_command_lacks_is_said_in_one_line(library: str, command: tuple[str, ...], home: Path) -> None:
    done = run_without([library], *command, "--home", home)
    assert done.stderr == (
        f"handsim: this needs the library {library}, which is not installed; "
        f"`pip install 'handsim[{EXTRAS[library]}]'` installs it\n"
    )
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_needs_no_extra(command: str) -> None:
    done = run_without(EXTRAS, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--home" in done.stdout


@pytest.mark.parametrize("name", ["torch.nm", "handsim.nothing", "numpy", None])
def test_other_import_errors_are_our_mistakes(name: str | None) -> None:
    assert explain_missing_library(ModuleNotFoundError(f"No module named {name!r}", name=name)) is None

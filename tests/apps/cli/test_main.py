"""The command line as a whole: help, bad homes, missing libraries, mining, retrieval and the demo."""

import argparse
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from apps.browser.map.pose_map import find_map_file, maps_folder, read_map_file
from apps.cli import COMMANDS, main
from apps.cli.main import make_parser, shared_options
from apps.extras import EXTRAS, explain_missing_library
from handsim import Pool, PoolWriter
from handsim.home import Home
from index import open_catalog
from tests.apps.commands import Capture, pick_hand, run_ok, run_python, run_refused
from tests.handsim.builders import add_hands, write_picture


def modules_after(*arguments: str | Path) -> set[str]:
    code = (
        "import contextlib, sys; from apps.cli import main\n"
        "with contextlib.suppress(SystemExit): main(sys.argv[1:])\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    return set(run_python(code, *arguments).splitlines()[-1].split())


@pytest.mark.slow
def test_help_and_queries_load_no_heavy_library(home: Path) -> None:
    heavy = {"torch", "lightning", "mediapipe", "umap", "matplotlib", "sklearn"}
    assert not modules_after("--help") & (heavy | {"numpy", "pyarrow", "qdrant_edge"})
    modules = modules_after("query", "--hand", pick_hand(home), "--home", home)
    assert "qdrant_edge" in modules
    assert not modules & heavy


def help_texts(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Of all actions of a command, or of the command where it has none."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        yield parser.format_help()
    for action in actions:
        for inner in action.choices.values():
            yield from help_texts(inner)


def test_the_help_of_every_command_and_action_names_the_home() -> None:
    for command in COMMANDS:
        for text in help_texts(make_parser([command], shared_options())):
            assert not text.startswith(f"usage: handsim {command} ") or "--home DIR" in text, text


def test_the_next_step_can_be_typed_as_it_is_printed(tmp_path: Path, capsys: Capture) -> None:
    home, index = tmp_path / "my home", tmp_path / "the index"
    add_hands(home / "pool", range(40))
    hand = pick_hand(home)
    for words in (
        ("embedding", "fit"),
        ("pool", "subset", "20", "--to", tmp_path / "a part"),
        ("pool", "remove", "--ids", hand),
        ("pool", "restore", "--ids", hand),
        ("pool", "relabel", "--video", "v0", "--set-label", "shape"),
        ("index", "list", "--index", tmp_path / "another index"),
    ):
        printed = run_ok(capsys, *words, "--home", home, *(() if "--index" in words else ("--index", index)))
        (line,) = re.findall(r"next: handsim (.*)", printed)
        run_ok(capsys, *shlex.split(line))


def test_every_command_has_help(capsys: Capture) -> None:
    for arguments in ([], *([name] for name in COMMANDS)):
        with pytest.raises(SystemExit, match="0"):
            main([*arguments, "--help"])
        assert "--home" in capsys.readouterr().out


WITHOUT_EXTRAS = """
import contextlib, io, json, sys

libraries, commands = map(json.loads, sys.argv[1:])

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in libraries:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

sys.meta_path.insert(0, Refuse())
from apps.cli import main
results = []
for command in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(command)
        except SystemExit as end:
            code = end.code
    results.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""


def run_without_extras(commands: Sequence[Sequence[str | Path]]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of commands in a process that cannot import the extras' libraries."""
    words = [[*map(str, command)] for command in commands]
    results = json.loads(run_python(WITHOUT_EXTRAS, json.dumps([*EXTRAS]), json.dumps(words)))
    return [(code, out, err) for code, out, err in results]


@pytest.mark.slow
def test_who_only_searches_needs_no_extra(own_home: Path, tmp_path: Path) -> None:
    at = ("--home", own_home)
    commands = [
        ("embedding", "fit", *at),
        ("embedding", "show", *at),
        ("index", "build", *at),
        ("index", "verify", *at),
        ("query", "--hand", pick_hand(own_home), "--montage", tmp_path / "answer.png", *at),
        ("mine", "--out", tmp_path / "pairs.parquet", "--workers", "1", *at),
        ("evaluate", "retrieval", *at),
        ("pool", "duplicates", *at),
        ("pool", "subset", "5", "--to", tmp_path / "small", *at),
        *([command, "--help"] for command in COMMANDS),
    ]
    for command, (code, _, err) in zip(commands, run_without_extras(commands), strict=True):
        assert (code, err) == (0, ""), command


@pytest.mark.slow
def test_a_command_without_its_extra_says_in_one_line_what_to_install(home: Path) -> None:
    commands = {
        ("pretrain", "simhand"): "train",
        ("finetune", "freihand"): "train",
        ("experiment", "run", "main"): "train",
        ("experiment", "table", "main"): "train",
        ("predict", "photo.jpg", "--checkpoint", "run"): "train",
        ("evaluate", "pose", "run"): "train",
        ("export", "run", "--out", "run.pth"): "train",
        ("export", "run", "--out", "run.onnx"): "export",
        ("predict", "photo.jpg", "--model", "run.onnx"): "onnx",
        ("synth", "--videos", "13", "--size", "64"): "train",
        ("embedding", "fit", "--encoder", "resnet18"): "train",
        ("demo",): "train",
        ("browse",): "browse",
    }
    results = run_without_extras([(*command, "--home", home) for command in commands])
    for (command, extra), (code, out, err) in zip(commands.items(), results, strict=True):
        assert (code, out) == (2, ""), command
        line = re.fullmatch(
            r"handsim: this needs the library (\w+), which is not installed; "
            rf"`pip install 'handsim\[{extra}\]'` installs it\n",
            err,
        )
        assert line, command
        assert EXTRAS[line[1]] == extra


@pytest.mark.parametrize("name", ["torch.nm", "handsim.nothing", "numpy", None])
def test_other_import_errors_are_our_mistakes(name: str | None) -> None:
    assert explain_missing_library(ModuleNotFoundError(f"No module named {name!r}", name=name)) is None


def test_mining_writes_pairs_and_the_authors_json(home: Path, tmp_path: Path, capsys: Capture) -> None:
    pool = Pool.open(home / "pool")
    videos = dict(zip(pool.hand_ids.tolist(), pool.videos.values(), strict=True))
    out, crops = tmp_path / "pairs.parquet", tmp_path / "crops"
    run_ok(capsys, "mine", "--top-k", "3", "--workers", "1", "--out", out, "--home", home)
    pairs = pq.read_table(out)
    assert len(pairs) == 3 * len(pool)
    for hand_id, positive in zip(pairs["hand_id"].to_pylist(), pairs["positive_id"].to_pylist(), strict=True):
        assert videos[hand_id] != videos[positive]
    authors = ("mine", "--format", "hand100m", "--workers", "1", "--out", tmp_path / "pairs.json")
    run_ok(capsys, *authors, "--crops", crops, "--home", home)
    written = json.loads((tmp_path / "pairs.json").read_text())
    assert len(written["annotations"]) == len(list(crops.glob("*.jpg"))) == len(pool)


def test_retrieval_is_evaluated_in_numbers_and_figures(home: Path, capsys: Capture) -> None:
    words = ("evaluate", "retrieval", "--labels", "--labels3d", "--name", "first")
    printed = run_ok(capsys, *words, "--home", home)
    assert "recall@1 against exact search" in printed
    assert re.search(r"^oracle, nearest in 3D +[0-9]+ +[0-9.]+", printed, re.MULTILINE)
    assert "rank correlation of SiMHand's positive weights" in printed
    report = json.loads((home / "runs" / "first" / "retrieval.json").read_text())
    assert report["recall_at_1"] == 1.0
    assert report["mined_pose_distance"] < report["random_pose_distance"]
    pairs = report["pairs_3d"]
    assert pairs["oracle"]["aligned_mm"] < pairs["mined"]["aligned_mm"] < pairs["random"]["aligned_mm"]
    assert sum(group["pairs"] for group in pairs["by_visible"].values()) == pairs["sample"]
    assert set(pairs["weights"]) == {"pose", "turn", "pose_before"}
    for name in ("explained_variance.png", "pose_distances.png", "pairs_3d.png"):
        with Image.open(home / "runs" / "first" / "figures" / name) as figure:
            assert figure.width > 500


def test_homes_that_lack_something_are_one_line_with_the_remedy(
    home: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path / "cache"))
    nothing, empty, unlabelled = (tmp_path / name for name in ("nothing", "empty", "unlabelled"))
    with PoolWriter(empty / "pool"):
        pass
    pool = Pool.open(home / "pool")
    with PoolWriter(unlabelled / "pool", crop_size_px=64) as writer:
        for hand_id in pool.hand_ids[:20].tolist():
            writer.add(replace(pool.hand(hand_id), label=None))
    out = tmp_path / "no" / "pairs.parquet"
    write_picture(tmp_path / "photo.png", 90)
    for place, words, message in (
        (nothing, ("query", "--hand", "0000000000000001"), "handsim index build"),
        (nothing, ("index", "build"), "there is no pool"),
        (nothing, ("pool", "subset", "5", "--to", tmp_path / "x"), "there is no pool at"),
        (nothing, ("ingest", tmp_path / "photo.png"), "handsim models fetch"),
        (nothing, ("ingest", tmp_path, "--model", tmp_path / "no.task"), "no.task"),
        (empty, ("index", "build"), "0 hands are too few"),
        (empty, ("embedding", "fit"), "0 hands are too few"),
        (empty, ("embedding", "show"), "handsim embedding fit"),
        (unlabelled, ("evaluate", "retrieval", "--labels"), "--label-from"),
        (home, ("evaluate", "retrieval", "--name", "../x"), "run name '../x'"),
        (home, ("mine", "--out", out), "is not a directory; make it"),
        (home, ("mine", "--out", "pairs.parquet", "--crops", out), "--crops goes with --format hand100m"),
    ):
        assert message in run_refused(capsys, *words, "--home", place), words


@pytest.mark.slow
def test_the_demo_ends_in_a_report_that_stands_alone(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run_ok(capsys, "demo", "--videos", "6", "--hands-per-video", "5")
    home = tmp_path / "handsim-demo"
    assert [line[:4] for line in printed.splitlines() if "/6 " in line] == [f"{n}/6 " for n in range(1, 7)]
    assert f"Open {home / 'report.html'} in a browser" in printed
    assert "browse --home handsim-demo" in printed
    for file in ("pairs.parquet", "runs/retrieval/retrieval.json"):
        assert (home / file).exists()
    info = open_catalog(home / "index").current_info()
    map_file = find_map_file(maps_folder(Home(home)), info)  # where the browser looks
    assert map_file is not None
    assert len(read_map_file(map_file)) == 30
    page = (home / "report.html").read_text()
    assert "<b>30</b><span>hands in 6 videos</span>" in page
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/(?:png|jpeg);base64,', page)) == 4
    assert "http" not in page.replace("https://", "").partition("<h1>")[2].partition("What to try")[0]

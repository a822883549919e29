"""``handsim list``, and the commands that look at the hands of a list alone."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from handsim import Pool
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.lists import HandLists
from tests.apps.commands import Capture, pick_hand, run_json, run_ok, run_refused


def make_list(home: Path, name: str, rows: range) -> list[str]:
    """A list of the hands in some rows of the pool; returns their ids."""
    ids = Pool.open(home / "pool").hand_ids[rows.start : rows.stop]
    HandLists(Home(home).lists).create(name, ids)
    return [format_hand_id(hand_id) for hand_id in ids.tolist()]


def test_a_list_is_made_changed_shown_and_exported(own_home: Path, capsys: Capture, tmp_path: Path) -> None:
    def run(*words: str | Path) -> str:
        return run_ok(capsys, "list", *words, "--home", own_home)

    assert run("show").startswith("no list yet; `handsim list create NAME`")
    fists = {
        hand["hand_id"]
        for hand in run_json(capsys, "query", "--random", "-k", "60", "--label", "fist", "--home", own_home)
    }
    assert (
        run("create", "fists", "--label", "fist", "--note", "thumb inside")
        == f"{len(fists)} hands in list fists\n"
    )
    assert set(run("export", "fists").split()) == fists
    one = min(fists)
    assert run("remove", "fists", "--ids", one).startswith("1 hand taken off; list fists has ")
    assert run("add", "fists", "--ids", f"{one},{max(fists)}").startswith(
        "1 hand added, 1 was there before; "
    )
    table = run("show").splitlines()
    assert table[0].split() == ["list", "hands", "changed", "(UTC)", "note"]
    assert table[1].startswith("fists")
    assert run("show", "fists").count(" fist ") == len(fists)
    for ending in ("csv", "json", "txt"):
        run("export", "fists", "--out", tmp_path / f"fists.{ending}")
        run("create", ending, "--ids", tmp_path / f"fists.{ending}")
        assert set(run("export", ending).split()) == fists
    assert run("rename", "csv", "table") == "list csv is table now\n"
    assert "deleted; the pool keeps them" in run("delete", "table")
    names = {each["name"]: each["hands"] for each in run_json(capsys, "list", "show", "--home", own_home)}
    assert names == dict.fromkeys(["fists", "json", "txt"], len(fists))


def test_ids_come_from_standard_input(
    own_home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = run_ok(capsys, "query", "--hand", pick_hand(own_home), "-k", "5", "--json", "--home", own_home)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    run_ok(capsys, "list", "create", "alike", "--ids", "-", "--home", own_home)
    expected = [hand["hand_id"] for hand in json.loads(answer)[0]["neighbors"]]
    assert run_ok(capsys, "list", "export", "alike", "--home", own_home).split() == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert "standard input names no hand" in run_refused(
        capsys, "list", "add", "alike", "--ids", "-", "--home", own_home
    )


def test_a_query_answers_only_among_the_hands_of_a_list(own_home: Path, capsys: Capture) -> None:
    hands = make_list(own_home, "some", range(10, 30))
    question = ("query", "--hand", pick_hand(own_home, 3), "--home", own_home)
    everything = run_json(capsys, *question, "-k", "59")[0]["neighbors"]
    among = run_json(capsys, *question, "--list", "some", "-k", "20")[0]["neighbors"]
    assert [each["hand_id"] for each in among] == [
        each["hand_id"] for each in everything if each["hand_id"] in hands
    ]
    listed = run_json(capsys, "query", "--list", "some", "-k", "60", "--home", own_home)
    assert [each["hand_id"] for each in listed] == sorted(hands)
    assert {
        each["hand_id"]
        for each in run_json(capsys, "query", "--random", "-k", "60", "--list", "some", "--home", own_home)
    } == {*hands}


def test_pool_export_and_removal_follow_a_list(own_home: Path, capsys: Capture, tmp_path: Path) -> None:
    hands = make_list(own_home, "some", range(10, 30))
    HandLists(Home(own_home).lists).add("some", [1])
    pool = ("--home", own_home)
    run_ok(
        capsys,
        "pool",
        "export",
        "--list",
        "some",
        "--format",
        "parquet",
        "--out",
        tmp_path / "a.parquet",
        *pool,
    )
    assert pq.read_table(tmp_path / "a.parquet")["id"].to_pylist() == hands
    run_ok(capsys, "pool", "remove", "--ids", hands[0], *pool)
    capsys.readouterr()
    run_ok(capsys, "list", "show", "some", *pool)
    capsys.readouterr()
    assert run_ok(capsys, "pool", "remove", "--list", "some", *pool).startswith("19 hands removed; ")
    assert len(Pool.open(own_home / "pool")) == 40
    assert "no hand of " in run_refused_after_note(
        capsys, "pool", "export", "--list", "some", "--format", "coco", "--out", tmp_path / "b", *pool
    )


def run_refused_after_note(capsys: Capture, *words: str | Path) -> str:
    """The error of a command that has first said how many hands of a list are absent."""
    from apps.cli import main

    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note == "21 of 21 hands of the list are not in the pool, of which 20 removed from it"
    return error


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("size", [12, 40])  # less and more than a quarter of the index
def test_hands_of_a_list_are_mined_among_themselves(
    own_home: Path, capsys: Capture, tmp_path: Path, bulk: bool, size: int
) -> None:
    hands = {int(hand, 16) for hand in make_list(own_home, "some", range(size))}
    words = ["mine", "--home", str(own_home), *(["--bulk"] if bulk else [])]
    run_ok(capsys, *words, "--list", "some", "--out", tmp_path / "in.parquet")
    run_ok(capsys, *words, "--exclude-list", "some", "--out", tmp_path / "out.parquet")
    for file, expected in (
        ("in", hands),
        ("out", set(Pool.open(own_home / "pool").hand_ids.tolist()) - hands),
    ):
        pairs = pq.read_table(tmp_path / f"{file}.parquet")
        anchors, positives = (pairs[name].to_numpy() for name in ("hand_id", "positive_id"))
        assert set(anchors.tolist()) == expected
        assert np.isin(positives, [*expected]).all()


def test_what_no_list_can_be_is_one_line(own_home: Path, capsys: Capture) -> None:
    make_list(own_home, "fists", range(3))
    HandLists(Home(own_home).lists).create("empty", [])
    for words, message in (
        (
            ("query", "--random", "--list", "fist"),
            "no list 'fist'; there are empty, fists; did you mean fists?",
        ),
        (
            ("query", "--random", "--list", "empty"),
            "list 'empty' holds no hand; `handsim list add` adds some",
        ),
        (("list", "create", "x"), "which hands? Say so (--ids, --like, --list"),
        (("list", "create", "../x", "--list", "fists"), "a list cannot be named '../x'"),
        (("list", "create", "fists", "--list", "fists"), "there is a list 'fists' already"),
        (("list", "add", "x", "--list", "fists"), "no list 'x'; there are empty, fists"),
        (("list", "create", "x", "--ids", "0000000000000001"), "1 of 1 hands are not in "),
        (("list", "export", "fists", "--out", "x.xlsx"), "--out x.xlsx ends in none of .csv, .json, .txt"),
        (("list", "rename", "fists", "empty"), "there is a list 'empty' already"),
        (("mine", "--list", "x", "--out", "x.parquet"), "no list 'x'"),
        (
            ("mine", "--list", "fists", "--exclude-list", "fists", "--out", "x.parquet"),
            "the lists leave no hand",
        ),
        (("pool", "remove", "--list", "x"), "no list 'x'"),
    ):
        assert message in run_refused(capsys, *words, "--home", own_home)

"""Where commands find their index: ``--index``, ``handsim.toml``, or below the home."""

from pathlib import Path

import pytest

from apps.cli.console import EncoderFolders
from handsim.errors import HandsimError
from handsim.home import Home
from index.server.client import KEY_VARIABLE
from tests.apps.commands import pick_hand, run_json, run_ok, run_refused

Capture = pytest.CaptureFixture[str]


def test_the_index_may_be_named_anywhere_on_the_line(own_home: Path, tmp_path: Path, capsys: Capture) -> None:
    elsewhere = tmp_path / "elsewhere"
    (own_home / "index").rename(elsewhere)
    hand = pick_hand(own_home)
    home, index = ("--home", own_home), ("--index", elsewhere)
    for line in (
        (*index, *home, "query", "--hand", hand),
        ("query", *index, "--hand", hand, *home),
        (*home, "query", "--hand", hand, *index),
    ):
        assert run_json(capsys, *line)[0]["query"]["hand_id"] == hand
    for words in ((*index, "index", "list"), ("index", *index, "list"), ("index", "list", *index)):
        assert "current  v0001" in run_ok(capsys, *words, *home)
    assert "there is no index" in run_refused(capsys, "query", "--hand", hand, *home)


def test_the_home_says_where_its_index_is(own_home: Path, tmp_path: Path, capsys: Capture) -> None:
    (own_home / "index").rename(tmp_path / "elsewhere")
    settings = own_home / "handsim.toml"
    for address in ("../elsewhere", str(tmp_path / "elsewhere")):
        settings.write_text(f'# where it is\nindex = "{address}"\n')
        assert "current  v0001" in run_ok(capsys, "index", "list", "--home", own_home)
    settings.write_text("")
    assert "no versions yet" in run_ok(capsys, "index", "list", "--home", own_home)
    # What the line says goes before what the file says.
    settings.write_text('index = "nowhere"\n')
    named = run_ok(capsys, "index", "list", "--home", own_home, "--index", tmp_path / "elsewhere")
    assert "current  v0001" in named


def test_encoders_are_looked_for_in_the_home_and_where_runs_keep_theirs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folders = EncoderFolders(home)
    assert list(folders) == [tmp_path]
    for name in ("second", "first"):
        (home.run(name) / "feedback").mkdir(parents=True)
    home.run("without").mkdir()
    assert list(folders) == [  # those of runs that began since as well
        tmp_path,
        home.run("first") / "feedback",
        home.run("second") / "feedback",
    ]


def test_addresses_are_told_from_paths(tmp_path: Path) -> None:
    assert Home(tmp_path).index == str(tmp_path / "index")
    for written, read in (
        ("http://localhost:6333", "http://localhost:6333"),
        ("https://qdrant.example/hands", "https://qdrant.example/hands"),
        ("other", str(tmp_path / "other")),
        ("/srv/index", "/srv/index"),
    ):
        (tmp_path / "handsim.toml").write_text(f'index = "{written}"\n')
        assert Home(tmp_path).index == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index = ", "cannot be read as TOML"),
        ("\0", "cannot be read as TOML"),
        ("index = 7", 'says index; it holds one line, index = "PATH or URL"'),
        ('index = "a"\npool = "b"\n', "says pool; it holds one line"),
        ('[index]\npath = "a"\n', "says index; it holds one line"),
    ],
)
def test_a_file_that_says_something_else(tmp_path: Path, capsys: Capture, text: str, message: str) -> None:
    (tmp_path / "handsim.toml").write_text(text)
    assert message in run_refused(capsys, "index", "list", "--home", tmp_path)
    with pytest.raises(HandsimError, match=r"handsim\.toml"):
        _ = Home(tmp_path).index


def test_what_is_no_address(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for address in ("ftp://host", "http://", "http://host:port", "https:///hands"):
        message = run_refused(capsys, "index", "list", "--home", tmp_path, "--index", address)
        assert "is not an address; one looks like http://127.0.0.1:6333/hands" in message
    secret = run_refused(capsys, "index", "list", "--home", tmp_path, "--index", "http://me:secret@host")
    assert "secret" not in secret
    assert KEY_VARIABLE in secret
    (tmp_path / "notes.txt").write_text("mine")
    strange = run_refused(capsys, "index", "build", "--home", tmp_path, "--index", tmp_path)
    assert "there is no pool" in strange or "is not an index of handsim" in strange

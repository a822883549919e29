"""``handsim index``: its actions, the words they print, and where commands find their index."""

import json
import re
import signal
from pathlib import Path

import pytest

from apps.cli import main
from apps.cli.console import EncoderFolders
from handsim import PoseEmbedding
from handsim.home import Home
from index import IndexSettings, open_catalog
from index.server.address import KEY_VARIABLE
from tests.apps.commands import Capture, pick_hand, run_json, run_ok, run_refused
from tests.index.builders import write_pool
from tests.index.server.small_server import SmallServer


def rows(capsys: Capture, home: Path) -> list[list[str]]:
    """Version, hands and recall of each line of ``index list``, behind ``current`` where it says so."""
    lines = run_ok(capsys, "index", "list", "--home", home).splitlines()
    columns, *listing = (re.split(r"  +", line.strip()) for line in lines)
    assert columns == [*("version", "hands", "embedding", "built (UTC)", "took", "size", "recall@1")]
    return [[*(word for word in row[:1] if word == "current"), *row[-7:-5], row[-1]] for row in listing]


def test_a_version_is_built_listed_published_and_rolled_back(own_home: Path, capsys: Capture) -> None:
    at, on_ctrl_c = ("--home", own_home), signal.getsignal(signal.SIGINT)
    built = run_ok(capsys, "index", "build", "--no-publish", "--m", "8", "--ef", "50", *at)
    assert signal.getsignal(signal.SIGINT) is on_ctrl_c  # what ended the build at once ends nothing else
    assert re.fullmatch(
        r"writing 60 hands, some 0\.0 MB\n"
        r"v0002: 60 hands in \d+\.\d s, not published; `handsim index publish v0002` does\n",
        built,
    )
    assert open_catalog(own_home / "index").info("v0002").settings == IndexSettings(m=8, ef=50)
    assert rows(capsys, own_home) == [["current", "v0001", "60", "1.0000"], ["v0002", "60", "1.0000"]]
    again = run_ok(capsys, "index", "build", "--m", "8", "--ef", "50", *at).splitlines()
    assert again[0] == "v0002 holds exactly these hands and is not published: nothing is written anew"
    assert re.fullmatch(r"v0002: 60 hands in \d+\.\d s, published", again[1])
    assert run_ok(capsys, "index", "rollback", *at).startswith("v0001 is now the current version")
    assert run_ok(capsys, "index", "publish", "v0002", *at) == "v0002 is now the current version\n"
    assert rows(capsys, own_home)[1] == ["current", "v0002", "60", "1.0000"]
    rolled = run_ok(capsys, "index", "rollback", *at)
    assert rolled == "v0001 is now the current version, v0002 no longer\n"
    assert "v0001 is the only version" in run_refused(capsys, "index", "rollback", *at)
    unknown = run_refused(capsys, "index", "publish", "v0009", *at)
    assert "no version 'v0009' (it has: v0001, v0002)" in unknown


@pytest.mark.slow
def test_versions_are_removed_but_not_one_that_is_open(own_home: Path, capsys: Capture) -> None:
    at = ("--home", own_home)
    for _ in range(3):
        assert main(["index", "build", "--home", str(own_home)]) == 0
    with open_catalog(own_home / "index").open("v0001"):
        pruned = run_ok(capsys, "index", "prune", "--keep", "1", *at)
        assert pruned == "removed v0002, v0003\nleft v0001: readers have them open\n"
        busy = run_refused(capsys, "index", "drop", "v0001", *at)
        assert "a reader has v0001 open; end it first, or wait" in busy
        assert "a reader has v0001 of" in run_refused(capsys, "index", "drop", "--all", *at)
    assert run_ok(capsys, "index", "drop", "v0001", *at) == "v0001 is removed\n"
    assert run_ok(capsys, "index", "prune", *at) == "nothing to remove\n"
    assert "keep is 0" in run_refused(capsys, "index", "prune", "--keep", "0", *at)
    assert "v0004 is the current version" in run_refused(capsys, "index", "drop", "v0004", *at)
    assert run_ok(capsys, "index", "drop", "--all", *at) == f"{own_home / 'index'} is removed\n"
    assert run_ok(capsys, "index", "list", *at) == (
        f"no versions yet; next: handsim index build --home {own_home}\n"
    )
    with pytest.raises(SystemExit, match="2"):
        main(["index", "drop", "--home", str(own_home)])


@pytest.mark.slow
def test_hands_are_added_and_the_version_verified(own_home: Path, capsys: Capture) -> None:
    at = ("--home", own_home)
    assert run_ok(capsys, "index", "add", *at) == "v0001 holds every hand of the pool already (60)\n"
    synth = ("synth", "--videos", "14", "--hands-per-video", "5", "--size", "64", *at)
    assert "70 hands in" in run_ok(capsys, *synth)
    lacking = run_ok(capsys, "index", "verify", *at)
    assert re.search(r"in the pool, not here +10\n", lacking)
    assert f"`handsim index add --home {own_home}` makes the hands searchable" in lacking
    assert "no hand" in run_refused(capsys, "query", "--hand", pick_hand(own_home, 69), *at)
    # The home's embedding may have changed meanwhile: a version is added to with its own.
    fingerprint = open_catalog(own_home / "index").info("v0001").embedding_fingerprint
    run_ok(capsys, "embedding", "fit", "--components", "5", *at)
    added = run_ok(capsys, "index", "add", "--no-publish", *at)
    assert added == "v0002: 70 hands, 10 of them new, not published; `handsim index publish v0002` does\n"
    assert open_catalog(own_home / "index").info("v0002").embedding_fingerprint == fingerprint
    whole = run_ok(capsys, "index", "verify", "v0002", "--sample", "30", *at)
    for name, value in (
        ("version", "v0002"),
        ("recall@1 over 30 hands", "1.0000"),
        ("there twice", "0"),
        ("ids and vectors", "as written"),
        ("in the pool, not here", "0"),
        ("here, not in the pool", "0"),
    ):
        assert re.search(rf"^{name} +{value}$", whole, re.MULTILINE)
    sweep = run_ok(capsys, "index", "verify", "v0002", "--ef-sweep", "--sample", "30", *at)
    assert re.search(r"^chosen +16 +1\.0000 +1\.0000 +[\d,]+$", sweep, re.MULTILINE)
    assert re.search(r"^candidates of a query \(ef\) +16$", sweep, re.MULTILINE)
    assert "leave --in-place out" in run_refused(capsys, "index", "add", "--in-place", *at)
    run_ok(capsys, "index", "publish", "v0002", *at)
    assert run_json(capsys, "query", "--hand", pick_hand(own_home, 69), "-k", "2", *at)[0]["neighbors"]


def test_doctor_ends_with_1_where_there_is_something_to_mend(own_home: Path, capsys: Capture) -> None:
    assert run_ok(capsys, "index", "doctor", "--home", own_home).endswith("index is sound\n")
    (own_home / "index" / ".building").mkdir()
    assert main(["index", "doctor", "--home", str(own_home)]) == 1
    page = capsys.readouterr().out.splitlines()
    assert page[0].endswith("index: 1 thing to mend")
    assert page[2:4] == ["To mend:", "  - .building (unfinished) takes space and cannot be searched"]
    assert "`handsim index prune` removes it" in page[4]
    assert main(["index", "doctor", "--json", "--index", "http://127.0.0.1:9", "--patience", "0"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["severity"] == "wrong"
    assert "does not answer" in finding["text"]


@pytest.mark.slow
def test_an_unsound_version_ends_verify_with_1(tmp_path: Path, capsys: Capture) -> None:
    at = ("--home", str(tmp_path))
    pool = write_pool(tmp_path / "pool", videos=40)
    poor = IndexSettings(m=2, ef_construct=4, ef=1, index_above_kb=1, full_scan_below_kb=10)
    open_catalog(tmp_path / "index").build(pool, PoseEmbedding.fit(pool), poor, publish=False)
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    assert main(["index", "verify", "v0001", *at]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"here, not in the pool +no pool here\n", printed)
    unsound = r"\nv0001 is not sound: recall@1 is 0\.\d{4}, below 0\.99; `handsim index build` again"
    assert re.search(unsound, printed)
    unpublished = run_refused(capsys, "index", "verify", *at)
    assert "has v0001, which is not current; `handsim index publish v0001` makes it so" in unpublished
    listing = run_ok(capsys, "index", "list", *at)
    assert re.search(r"^unpublished +v0001", listing, re.MULTILINE)
    assert listing.endswith(
        f"\nnone of them is current; `handsim index publish v0001 --home {tmp_path}` makes it so\n"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Local mode performs exact")
def test_an_index_moves_to_a_server_and_back(
    own_home: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "only-for-this-test")
    question = ("query", "--hand", pick_hand(own_home), "-k", "3", "--home", own_home)
    here = run_json(capsys, *question)
    with SmallServer(key="only-for-this-test") as server:
        at = ("--home", own_home, "--index", server.address)
        assert "there is no index at" in run_refused(capsys, *question, "--index", server.address)
        run_ok(capsys, "index", "copy", own_home / "index", server.address, "--home", own_home)
        there = run_json(capsys, *question, "--index", server.address)
        hands = [[found["hand_id"] for found in answer[0]["neighbors"]] for answer in (here, there)]
        assert hands[0] == hands[1]
        assert "\nv0002: 60 hands in" in run_ok(capsys, "index", "build", *at)
        (own_home / "handsim.toml").write_text(f'index = "{server.address}"\n')
        listing = run_ok(capsys, "index", "list", "--home", own_home).splitlines()[1:]
        assert [line.split()[:2] for line in listing[:2]] == [["v0001", "60"], ["current", "v0002"]]
        health = "on the server: green, 1 segment; shard 0 on node 1"
        assert listing[2:] == ["", f"v0001 {health}", f"v0002 {health}"]
        back = run_ok(capsys, "index", "copy", server.address, tmp_path / "back", "--home", own_home)
        assert back == f"{tmp_path / 'back'} holds v0001, v0002, compared hand by hand; current: v0002\n"
        assert "is removed" in run_ok(capsys, "index", "drop", "--all", "--home", own_home)
        monkeypatch.setenv(KEY_VARIABLE, "a-wrong-one")
        # Without patience: on a busy machine a line would say before that the server is waited for.
        refused = run_refused(capsys, "index", "list", "--home", own_home, "--patience", "0")
        assert "a-wrong-one" not in refused


def test_whoever_waits_for_a_server_is_told_for_what_and_how_long(tmp_path: Path, capsys: Capture) -> None:
    at = ("--index", "http://127.0.0.1:1", "--home", str(tmp_path))
    for command in (["index", "list"], ["query", "--hand", "00"]):
        assert main([*command, *at, "--patience", "1.4"]) == 2
        waiting, given_up = capsys.readouterr().err.splitlines()
        server = r"http://127\.0\.0\.1:1 (does not|has not) answer"
        assert re.match(rf"handsim: (waiting 1 s at most|trying once more): .*{server}", waiting)
        assert re.match(r"handsim: .* does not answer \(.*; waited for \d+ s\); start it, or check", given_up)
    assert "does not answer" in run_refused(capsys, "index", "list", *at, "--patience", "0")
    assert "the patience is 'soon'" in run_refused(capsys, "index", "list", *at, "--patience", "soon")


def test_the_index_may_be_named_anywhere_on_the_line_and_in_handsim_toml(
    own_home: Path, tmp_path: Path, capsys: Capture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (own_home / "index").rename(elsewhere)
    home, index = ("--home", own_home), ("--index", elsewhere)
    for words in ((*index, "index", "list"), ("index", *index, "list"), ("index", "list", *index)):
        assert "current  v0001" in run_ok(capsys, *words, *home)
    hand = pick_hand(own_home)
    assert run_json(capsys, *index, *home, "query", "--hand", hand)[0]["query"]["hand_id"] == hand
    assert "there is no index" in run_refused(capsys, "query", "--hand", hand, *home)

    settings = own_home / "handsim.toml"
    for address in ("../elsewhere", str(elsewhere)):
        settings.write_text(f'# where it is\nindex = "{address}"\n')
        assert "current  v0001" in run_ok(capsys, "index", "list", *home)
    settings.write_text('index = "nowhere"\n')
    assert "no versions yet" in run_ok(capsys, "index", "list", *home)
    assert "current  v0001" in run_ok(capsys, "index", "list", *home, *index)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index = ", "cannot be read as TOML"),
        ("\0", "cannot be read as TOML"),
        ("index = 7", 'says index; it may hold index = "PATH or URL"'),
        ('index = "a"\npool = "b"\n', "says pool; it may hold index"),
    ],
)
def test_a_settings_file_with_anything_else_is_refused(
    tmp_path: Path, capsys: Capture, text: str, message: str
) -> None:
    (tmp_path / "handsim.toml").write_text(text)
    assert message in run_refused(capsys, "index", "list", "--home", tmp_path)


def test_what_is_no_address_is_refused(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for address in ("ftp://host", "http://", "http://host:port", "https:///hands"):
        message = run_refused(capsys, "index", "list", "--home", tmp_path, "--index", address)
        assert "is not an address; one looks like http://127.0.0.1:6333/hands" in message
    secret = run_refused(capsys, "index", "list", "--home", tmp_path, "--index", "http://me:secret@host")
    assert "secret" not in secret
    assert KEY_VARIABLE in secret


def test_encoders_are_looked_for_in_the_home_and_in_every_run(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folders = EncoderFolders(home)
    assert list(folders) == [tmp_path]
    for name in ("second", "first"):
        (home.run(name) / "feedback").mkdir(parents=True)
    home.run("without").mkdir()
    assert list(folders) == [tmp_path, home.run("first") / "feedback", home.run("second") / "feedback"]

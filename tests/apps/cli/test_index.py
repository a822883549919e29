"""``handsim index build|list|publish|rollback|prune|add|verify|copy|drop``."""

import re
import signal
from pathlib import Path

import pytest

from apps.cli import main
from handsim import Pool, PoseEmbedding
from index import IndexSettings, open_catalog
from index.server.client import KEY_VARIABLE
from tests.apps.commands import pick_hand, run_json, run_ok, run_refused
from tests.index.builders import write_pool
from tests.index.server.small_server import SmallServer

Capture = pytest.CaptureFixture[str]


def rows(capsys: Capture, home: Path) -> list[list[str]]:
    """Version, hands and recall of each line of ``index list``, behind ``current`` where it says so."""
    lines = run_ok(capsys, "index", "list", "--home", home).splitlines()
    assert re.split(r"  +", lines[0].strip()) == [
        *("version", "hands", "embedding", "built (UTC)", "took", "size", "recall@1")
    ]
    listing = [re.split(r"  +", line.strip()) for line in lines[1:]]
    return [[*(word for word in row[:1] if word == "current"), *row[-7:-5], row[-1]] for row in listing]


def test_build_look_publish_and_go_back(own_home: Path, capsys: Capture) -> None:
    at, on_ctrl_c = ("--home", own_home), signal.getsignal(signal.SIGINT)
    built = run_ok(capsys, "index", "build", "--no-publish", "--m", "8", "--ef", "50", *at)
    assert signal.getsignal(signal.SIGINT) is on_ctrl_c  # what ended the build at once ends nothing else
    assert re.fullmatch(
        r"v0002: 60 hands in \d+\.\d s, not published; `handsim index publish v0002` does\n", built
    )
    settings = open_catalog(own_home / "index").info("v0002").settings
    assert settings == IndexSettings(m=8, ef=50)
    assert rows(capsys, own_home) == [["current", "v0001", "60", "1.0000"], ["v0002", "60", "1.0000"]]
    assert run_ok(capsys, "index", "publish", "v0002", *at) == "v0002 is now the current version\n"
    assert rows(capsys, own_home)[1] == ["current", "v0002", "60", "1.0000"]
    rolled = run_ok(capsys, "index", "rollback", *at)
    assert rolled == "v0001 is now the current version, v0002 no longer\n"
    assert "v0001 is the only version" in run_refused(capsys, "index", "rollback", *at)
    assert "no version 'v0009' (it has: v0001, v0002)" in run_refused(
        capsys, "index", "publish", "v0009", *at
    )
    built = run_ok(capsys, "index", "build", *at)
    assert built.endswith("s, published\n")


def test_prune_and_drop(own_home: Path, capsys: Capture) -> None:
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
    dropped = run_ok(capsys, "index", "drop", "--all", *at)
    assert dropped == f"{own_home / 'index'} is removed\n"
    assert run_ok(capsys, "index", "list", *at) == "no versions yet; `handsim index build` makes one\n"
    with pytest.raises(SystemExit) as ended:
        main(["index", "drop", "--home", str(own_home)])
    assert ended.value.code == 2


def test_add_and_verify(own_home: Path, capsys: Capture) -> None:
    at = ("--home", own_home)
    nothing = run_ok(capsys, "index", "add", *at)
    assert nothing == "v0001 holds every hand of the pool already (60)\n"
    synth = ("synth", "--videos", "14", "--hands-per-video", "5", "--size", "64", *at)
    assert "70 hands in" in run_ok(capsys, *synth)
    lacking = run_ok(capsys, "index", "verify", *at)
    assert re.search(r"in the pool, not here +10\n", lacking)
    assert "`handsim index add` makes the hands searchable" in lacking
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
    assert "leave --in-place out" in run_refused(capsys, "index", "add", "--in-place", *at)
    run_ok(capsys, "index", "publish", "v0002", *at)
    assert run_json(capsys, "query", "--hand", pick_hand(own_home, 69), "-k", "2", *at)[0]["neighbors"]


def test_verify_tells_of_a_poor_graph(tmp_path: Path, capsys: Capture) -> None:
    at = ("--home", str(tmp_path))
    pool = write_pool(tmp_path / "pool", videos=40)
    poor = IndexSettings(m=2, ef_construct=4, ef=1, index_above_kb=1, full_scan_below_kb=10)
    open_catalog(tmp_path / "index").build(pool, PoseEmbedding.fit(pool), poor, publish=False)
    assert main(["index", "verify", "v0001", *at]) == 1
    assert re.search(
        r"\nv0001 is not sound: recall@1 is 0\.\d{4}, below 0\.99; `handsim index build` again",
        capsys.readouterr().out,
    )
    assert "there is no index at" in run_refused(capsys, "index", "verify", *at)
    assert "a random sample of 0 hands" in run_refused(
        capsys, "index", "verify", "v0001", "--sample", "0", *at
    )
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    main(["index", "verify", "v0001", *at])
    assert re.search(r"here, not in the pool +no pool here\n", capsys.readouterr().out)


def test_copy_to_a_directory_and_back(own_home: Path, tmp_path: Path, capsys: Capture) -> None:
    there = tmp_path / "there"
    copied = run_ok(capsys, "index", "copy", own_home / "index", there, "--home", own_home)
    assert copied == f"{there} holds v0001, compared hand by hand; current: v0001\n"
    hand = pick_hand(own_home)
    question = ("query", "--hand", hand, "-k", "3", "--home", own_home)
    assert run_json(capsys, *question, "--index", there) == run_json(capsys, *question)
    empty = run_refused(capsys, "index", "copy", tmp_path / "nothing", there, "--home", own_home)
    assert f"there is no index at {tmp_path / 'nothing'}" in empty
    strange = run_refused(capsys, "index", "copy", own_home / "pool", there, "--home", own_home)
    assert "is not an index of handsim" in strange


@pytest.mark.filterwarnings("ignore:Local mode performs exact")
def test_the_same_commands_on_a_server(
    own_home: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "only-for-this-test")
    hand = pick_hand(own_home)
    with SmallServer(key="only-for-this-test") as server:
        at = ("--home", own_home, "--index", server.address)
        assert "there is no index at" in run_refused(capsys, "query", "--hand", hand, *at)
        run_ok(capsys, "index", "copy", own_home / "index", server.address, "--home", own_home)
        question = ("query", "--hand", hand, "-k", "3", "--other-video", "--home", own_home)
        here, there = (run_json(capsys, *question, *index)[0] for index in ((), ("--index", server.address)))
        assert [found["hand_id"] for found in there["neighbors"]] == [
            found["hand_id"] for found in here["neighbors"]
        ]
        assert run_ok(capsys, "index", "build", *at).startswith("v0002: 60 hands in")
        (own_home / "handsim.toml").write_text(f'index = "{server.address}"\n')
        listing = run_ok(capsys, "index", "list", "--home", own_home)
        assert [line.split()[:2] for line in listing.splitlines()[1:]] == [
            ["v0001", "60"],
            ["current", "v0002"],
        ]
        back = run_ok(capsys, "index", "copy", server.address, tmp_path / "back", "--home", own_home)
        assert back.endswith("/back holds v0001, v0002, compared hand by hand; current: v0002\n")
        assert "is removed" in run_ok(capsys, "index", "drop", "--all", "--home", own_home)
        monkeypatch.setenv(KEY_VARIABLE, "a-wrong-one")
        assert "a-wrong-one" not in run_refused(capsys, "index", "list", "--home", own_home)
    assert len(Pool.open(own_home / "pool")) == 60

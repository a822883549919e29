"""``handsim index copy|backup|restore``: what they print, and the drill of the documentation as it stands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from index import IndexSettings, open_catalog
from index.server.address import KEY_VARIABLE
from tests.apps.commands import Capture, run_ok, run_refused
from tests.index.server.small_server import SmallServer

DOCUMENTATION = Path(__file__).resolve().parents[3] / "docs" / "index.md"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Local mode performs exact")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallServer]:
    monkeypatch.setenv(KEY_VARIABLE, "only-for-this-test")
    with SmallServer(key="only-for-this-test") as server:
        yield server


@pytest.mark.parametrize("engine", ["embedded", "server"])
def test_the_drill_of_the_documentation_ends_with_the_same_index(
    own_home: Path,
    tmp_path: Path,
    server: SmallServer,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    own_home.rename("handsim-home")
    run_ok(capsys, "index", "build")
    if engine == "server":
        run_ok(capsys, "index", "copy", "handsim-home/index", server.address)
        Path("handsim-home/handsim.toml").write_text(f'index = "{server.address}"\n')
    before = run_ok(capsys, "index", "list")
    drill = re.search(r"\n## Backups\n.*?```sh\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert drill is not None
    printed = []
    for line in drill[1].splitlines():
        program, *command = shlex.split(line, comments=True)
        assert program == "handsim"
        if refused := re.search("# refused: (there is no index)", line):
            assert refused[1] in run_refused(capsys, *command)
        else:
            printed.append(run_ok(capsys, *command))
    held = r"v0001 \(60 hands\), v0002 \(60 hands\)"
    assert re.fullmatch(
        rf"backups/hands holds {held}; current: v0002; 2 copied now, every file checked\n", printed[0]
    )
    assert re.fullmatch(rf"backups/hands is whole: {held}; current: v0002; of .+ at .{{25}}\n", printed[1])
    assert re.fullmatch(rf".+ holds {held}, compared hand by hand; current: v0002\n", printed[3])

    # Up to the date: a server builds its graph anew.
    lines = [[line.partition("  20")[0] for line in text.splitlines()] for text in (printed[4], before)]
    assert lines[0] == lines[1]
    assert "current  v0002  " in before


def test_a_server_takes_the_parts_that_a_directory_does_not(
    own_home: Path, tmp_path: Path, server: SmallServer, capsys: Capture
) -> None:
    at = ("--home", own_home)
    parts = ("--shards", "6", "--replicas", "1", "--on-disk")
    run_ok(capsys, "index", "copy", own_home / "index", server.address, *parts, *at)
    with open_catalog(server.address) as catalog:
        assert catalog.info("v0001").settings == IndexSettings(shards=6, on_disk=True)
    run_ok(capsys, "index", "backup", tmp_path / "backup", "--index", server.address, *at)
    elsewhere = server.address.replace("/hands", "/others")
    restore = ("index", "restore", tmp_path / "backup", *at, "--index")
    run_ok(capsys, *restore, elsewhere, "--shards", "3", "--no-on-disk")
    with open_catalog(elsewhere) as catalog:
        assert catalog.info("v0001").settings == IndexSettings(shards=3)
    for action in ("backup", "restore"):
        refused = run_refused(capsys, "index", action, server.address, *at)
        assert f"a backup is a directory, and {server.address} is an address" in refused
    here = tmp_path / "here"
    build = ("index", "build", *at, "--index", here)
    for command in (("index", "copy", server.address, here, *at), (*restore, here), build):
        refused = run_refused(capsys, *command, "--shards", "6")
        assert f"--on-disk are for servers, and {here} is a directory; leave them out" in refused

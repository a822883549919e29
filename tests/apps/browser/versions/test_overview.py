"""How an index stands: facts of a real one, and what is made of them."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from apps.browser.index.overview import Finding, Overview, findings, read_overview, refusals
from apps.browser.library import Library
from apps.browser.serve import BrowserSettings
from handsim import Pool
from index import open_catalog
from tests.apps.browser.versions.some_versions import NEWER, OLDER, SOUND, build, more_hands, with_current

NOBODY: frozenset[str] = frozenset()


def test_a_home_as_it_is(home: Path) -> None:
    seen = read_overview(Library(BrowserSettings(home)))
    assert seen.current is not None
    assert (seen.current.name, seen.current.points, seen.pool_hands, seen.to_add) == ("v0001", 60, 60, 0)
    assert (seen.earlier, seen.builder, seen.errors) == (None, None, ())
    assert seen.embedding == ("pose-14", seen.current.embedding_fingerprint)
    assert seen.address == str(home / "index")
    assert not seen.is_on_server
    assert [finding.level for finding in findings(seen)] == ["good"]


def test_what_changes_is_seen_at_the_next_look(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    read_overview(library)
    build(own_home)
    more_hands(own_home)
    seen = read_overview(library)
    assert [info.name for info in seen.versions] == ["v0002", "v0001"]
    assert (seen.earlier, seen.pool_hands, seen.to_add) == ("v0001", 70, 10)
    library.catalog.remove("v0001")
    assert read_overview(library).earlier is None  # it was published, and is no more
    (own_home / "embedding.json").write_text("{}")
    shutil.rmtree(own_home / "pool")
    seen = read_overview(library)
    assert (seen.pool_hands, seen.embedding) == (None, None)
    assert "is not an embedding" in seen.errors[0]
    (own_home / "embedding.json").unlink()
    assert (read_overview(library).embedding, read_overview(library).errors) == (None, ())


def test_a_damaged_pool_does_not_hide_the_index(own_home: Path) -> None:
    next((own_home / "pool" / "parts").glob("*/hands.parquet")).write_bytes(b"cut")
    seen = read_overview(Library(BrowserSettings(own_home)))
    assert seen.current is not None
    assert seen.pool_hands is None
    assert findings(seen)[0].level == "bad"
    assert "of the pool" in findings(seen)[0].text


def test_somebody_builds(own_home: Path) -> None:
    with open_catalog(own_home / "index") as catalog:

        def progress(done: int, total: int) -> None:
            seen = read_overview(Library(BrowserSettings(own_home)))
            assert seen.builder is not None
            assert seen.builder.startswith("process ")
            said.append(seen)

        said: list[Overview] = []
        with catalog.current() as version:
            embedding = version.embedding
        catalog.build(Pool.open(own_home / "pool"), embedding, progress=progress)
    assert said
    assert any("A version is being built by process" in finding.text for finding in findings(said[0]))
    assert refusals(said[0], actions=True, running=NOBODY)["build"] == "Another version is being built"


@pytest.mark.parametrize(
    ("seen", "level", "text"),
    [
        (SOUND, "good", "finds what exact search finds"),
        (
            with_current(recall_at_1=0.9512),
            "bad",
            r"v0002 misses .* recall@1 is 0\.9512, below 0\.99",
        ),
        (with_current(recall_at_1=0.99), "good", "finds"),
        (with_current(recall_at_1=None), "note", "v0002 was never verified"),
        (with_current(is_current=False), "bad", "No version is current"),
        (replace(SOUND, pool_hands=1_081), "note", r"1,081 hands, v0002 70: 1,011 cannot be searched yet"),
        (replace(SOUND, pool_hands=50), "bad", "v0002 holds 20 hands more than the pool"),
        (replace(SOUND, pool_hands=None), "note", "no pool in this home"),
        (replace(SOUND, embedding=("image-128", "ff")), "note", "The home's embedding is image-128 ff"),
        (replace(SOUND, embedding=None), "good", "finds"),
        (replace(SOUND, builder="process 7 on host"), "note", "is being built by process 7 on host"),
        (replace(SOUND, errors=("it is cut",)), "bad", "it is cut"),
        (
            replace(SOUND, versions=(NEWER, replace(OLDER, recall_at_1=0.5))),
            "bad",
            "v0001 misses neighbours",
        ),
    ],
)
def test_health(seen: Overview, level: str, text: str) -> None:
    (finding,) = findings(seen)
    assert finding.level == level
    assert re.search(text, finding.text)


def test_what_is_bad_comes_first() -> None:
    seen = replace(with_current(recall_at_1=0.5), pool_hands=90, builder="process 7")
    assert [finding.level for finding in findings(seen)] == ["bad", "note", "note"]
    assert isinstance(findings(seen)[0], Finding)


@pytest.mark.parametrize(
    ("seen", "running", "refused"),
    [
        (SOUND, (), {"add": "no more hands"}),
        (replace(SOUND, pool_hands=99), (), {}),
        (replace(SOUND, pool_hands=99), ("verify",), {"verify": "being verified"}),
        (replace(SOUND, pool_hands=99), ("add",), {"build": "being built", "add": "being built"}),
        (replace(SOUND, pool_hands=99), ("map",), {}),
        (replace(SOUND, pool_hands=None), (), {"build": "no hands in the pool", "add": "no hands"}),
        (replace(SOUND, pool_hands=0), (), {"build": "no hands in the pool", "add": "no hands"}),
        (replace(SOUND, earlier=None, pool_hands=99), (), {"rollback": "No other version was published"}),
        (
            replace(SOUND, versions=(OLDER,), earlier=None),
            (),
            {"add": "no current version", "rollback": "No other", "prune": "no older versions"},
        ),
    ],
)
def test_what_cannot_be_done(seen: Overview, running: tuple[str, ...], refused: dict[str, str]) -> None:
    said = refusals(seen, actions=True, running=frozenset(running))
    assert said.keys() == refused.keys()
    for action, reason in said.items():
        assert refused[action] in reason


def test_nothing_can_be_done_where_only_looking_is_allowed() -> None:
    said = refusals(replace(SOUND, pool_hands=99), actions=False, running=NOBODY)
    assert set(said) == {"build", "add", "verify", "publish", "rollback", "remove", "prune"}
    assert all("--read-only" in reason for reason in said.values())

"""What the page says of an index: findings, refusals, and what an action would do."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from apps.browser.index.overview import (
    TITLES,
    VERBS,
    Finding,
    Overview,
    findings,
    pruned,
    read_overview,
    refusals,
    what_happens,
)
from apps.browser.library import Library
from apps.browser.serve import BrowserSettings
from handsim import Pool
from index import open_catalog
from tests.apps.browser.index.versions import NEWER, OLDER, SOUND, build, more_hands, with_current

NOBODY: frozenset[str] = frozenset()


def test_a_home_as_it_is(home: Path) -> None:
    overview = read_overview(Library(BrowserSettings(home)))
    assert overview.current is not None
    assert (overview.current.name, overview.current.points, overview.pool_hands, overview.to_add) == (
        "v0001",
        60,
        60,
        0,
    )
    assert (overview.earlier, overview.builder, overview.errors) == (None, None, ())
    assert overview.embedding == ("pose-14", overview.current.embedding_fingerprint)
    assert overview.address == str(home / "index")
    assert not overview.is_on_server
    assert [finding.level for finding in findings(overview)] == ["good"]


def test_what_changes_is_seen_at_the_next_look(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    read_overview(library)
    build(own_home)
    more_hands(own_home)
    overview = read_overview(library)
    assert [info.name for info in overview.versions] == ["v0002", "v0001"]
    assert (overview.earlier, overview.pool_hands, overview.to_add) == ("v0001", 70, 10)
    library.catalog.remove("v0001")
    assert read_overview(library).earlier is None  # it was published, and is no more
    (own_home / "embedding.json").write_text("{}")
    shutil.rmtree(own_home / "pool")
    overview = read_overview(library)
    assert (overview.pool_hands, overview.embedding) == (None, None)
    assert "is not an embedding" in overview.errors[0]
    (own_home / "embedding.json").unlink()
    assert (read_overview(library).embedding, read_overview(library).errors) == (None, ())


def test_a_damaged_pool_does_not_hide_the_index(own_home: Path) -> None:
    next((own_home / "pool" / "parts").glob("*/hands.parquet")).write_bytes(b"cut")
    overview = read_overview(Library(BrowserSettings(own_home)))
    assert overview.current is not None
    assert overview.pool_hands is None
    assert findings(overview)[0].level == "bad"
    assert "of the pool" in findings(overview)[0].text


def test_somebody_builds(own_home: Path) -> None:
    with open_catalog(own_home / "index") as catalog:

        def progress(done: int, total: int) -> None:
            overview = read_overview(Library(BrowserSettings(own_home)))
            assert overview.builder is not None
            assert overview.builder.startswith("process ")
            overviews.append(overview)

        overviews: list[Overview] = []
        with catalog.current() as version:
            embedding = version.embedding
        catalog.build(Pool.open(own_home / "pool"), embedding, progress=progress)
    assert overviews
    assert any("A version is being built by process" in finding.text for finding in findings(overviews[0]))
    assert refusals(overviews[0], actions=True, running=NOBODY)["build"] == "Another version is being built"


@pytest.mark.parametrize(
    ("overview", "level", "text"),
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
def test_health(overview: Overview, level: str, text: str) -> None:
    (finding,) = findings(overview)
    assert finding.level == level
    assert re.search(text, finding.text)


def test_what_is_bad_comes_first() -> None:
    overview = replace(with_current(recall_at_1=0.5), pool_hands=90, builder="process 7")
    assert [finding.level for finding in findings(overview)] == ["bad", "note", "note"]
    assert isinstance(findings(overview)[0], Finding)


@pytest.mark.parametrize(
    ("overview", "running", "refused"),
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
def test_what_cannot_be_done(overview: Overview, running: tuple[str, ...], refused: dict[str, str]) -> None:
    reasons = refusals(overview, actions=True, running=frozenset(running))
    assert reasons.keys() == refused.keys()
    for action, reason in reasons.items():
        assert refused[action] in reason


def test_nothing_can_be_done_where_only_looking_is_allowed() -> None:
    reasons = refusals(replace(SOUND, pool_hands=99), actions=False, running=NOBODY)
    assert set(reasons) == {"build", "add", "verify", "publish", "rollback", "remove", "prune"}
    assert all("--read-only" in reason for reason in reasons.values())


def sentences(overview: Overview, action: str, name: str = "") -> str:
    return " ".join(what_happens(overview, action, name))  # type: ignore[arg-type]


def test_every_action_is_told() -> None:
    assert TITLES.keys() == VERBS.keys()
    for action in TITLES:
        assert len(sentences(SOUND, action, "v0001")) > 50


def test_for_whom() -> None:
    published = sentences(SOUND, "publish", "v0001")
    assert "is answered by v0001, which holds 60 hands, from the next question on" in published
    assert "v0002 stays, and rolling back returns to it" in published
    assert "goes on in v0002 meanwhile" in sentences(SOUND, "build")
    assert "the 5 hands that only the pool has" in sentences(replace(SOUND, pool_hands=75), "add")
    assert "v0001 (60 hands, 1.5 MB) is removed for good" in sentences(SOUND, "remove", "v0001")


def test_before_there_is_anything() -> None:
    empty = replace(SOUND, versions=(), earlier=None, embedding=None)
    built = sentences(empty, "build")
    assert "an embedding that is fitted first" in built
    assert "nothing to search before it is done" in built


def test_warnings() -> None:
    poor = replace(OLDER, recall_at_1=0.9, embedding_fingerprint="ff")
    warned = sentences(replace(SOUND, versions=(NEWER, poor)), "publish", "v0001")
    assert "v0001 misses neighbours: its recall@1 is 0.9000" in warned
    assert "distances are not comparable with those of v0002" in warned
    assert "misses" not in sentences(SOUND, "publish", "v0001")
    assert "comparable" not in sentences(SOUND, "rollback", "v0001")
    # Removed by somebody else meanwhile: described all the same, and refused when it is done.
    assert "is answered by v0009, from" in sentences(SOUND, "publish", "v0009")


def test_what_clearing_up_takes() -> None:
    oldest = replace(OLDER, name="v0000")
    overview = replace(
        SOUND, versions=(replace(NEWER, is_current=False), OLDER, replace(oldest, is_current=True))
    )
    assert pruned(overview, 1) == ["v0001"]
    assert pruned(overview, 3) == []
    assert pruned(replace(SOUND, versions=(NEWER, OLDER, oldest)), 1) == ["v0000", "v0001"]

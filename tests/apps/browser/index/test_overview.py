"""What the page says of an index: findings, refusals, and what an action would do."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from apps.browser.index.overview import (
    DIALOGS,
    Overview,
    findings,
    pruned,
    read_overview,
    refusals,
    what_happens,
)
from apps.browser.library import Library
from apps.browser.serve import BrowserSettings
from tests.apps.browser.builders import (
    NEWER,
    OLDER,
    SOUND,
    build_version,
    more_hands,
    with_current,
    with_health,
)


def test_an_overview_says_what_the_home_has(home: Path, library: Library) -> None:
    overview = read_overview(library)
    assert overview.current is not None
    assert (overview.current.name, overview.current.points) == ("v0001", 60)
    assert (overview.pool_hands, overview.to_add, overview.earlier) == (60, 0, None)
    assert (overview.builder, overview.errors) == (None, ())
    assert overview.embedding == ("pose-14", overview.current.embedding_fingerprint)
    assert overview.address == str(home / "index")
    assert not overview.is_on_server
    assert [finding.level for finding in findings(overview)] == ["good"]


def test_an_overview_sees_what_has_changed_or_is_damaged(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    read_overview(library)
    build_version(own_home)
    more_hands(own_home)
    overview = read_overview(library)
    assert [info.name for info in overview.versions] == ["v0002", "v0001"]
    assert (overview.earlier, overview.pool_hands, overview.to_add) == ("v0001", 70, 10)
    library.catalog.remove("v0001")
    assert read_overview(library).earlier is None  # it was published, and is no more
    (own_home / "embedding.json").unlink()
    next((own_home / "pool" / "parts").glob("*/hands.parquet")).write_bytes(b"cut")
    overview = read_overview(library)
    assert (overview.current, overview.pool_hands, overview.embedding) == (overview.versions[0], None, None)
    assert findings(overview)[0].level == "bad"
    assert "of the pool" in findings(overview)[0].text
    (own_home / "embedding.json").write_text("{}")
    shutil.rmtree(own_home / "pool")
    overview = read_overview(library)
    assert (overview.pool_hands, overview.embedding) == (None, None)
    assert "is not an embedding" in overview.errors[0]


@pytest.mark.parametrize(
    ("overview", "level", "text"),
    [
        (SOUND, "good", "finds what exact search finds"),
        (with_current(recall_at_1=0.9512), "bad", r"v0002 misses .* recall@1 is 0\.9512, below 0\.99"),
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
        (with_health(), "good", "finds"),
        (
            with_health(status="red", severity="wrong"),
            "bad",
            "v0002 on the server: red, 1 segment; .*; handsim index doctor says",
        ),
        (with_health(status="yellow", severity="hint"), "note", "v0002 on the server: yellow"),
        (replace(SOUND, versions=(NEWER, replace(OLDER, recall_at_1=0.5))), "bad", "v0001 misses neighbours"),
    ],
)
def test_a_finding_has_its_level_and_its_numbers(overview: Overview, level: str, text: str) -> None:
    (finding,) = findings(overview)
    assert finding.level == level
    assert re.search(text, finding.text)


def test_what_is_bad_comes_first() -> None:
    overview = replace(with_current(recall_at_1=0.5), pool_hands=90, builder="process 7")
    assert [finding.level for finding in findings(overview)] == ["bad", "note", "note"]


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
def test_an_action_that_cannot_be_done_has_its_reason(
    overview: Overview, running: tuple[str, ...], refused: dict[str, str]
) -> None:
    reasons = refusals(overview, refusal=None, running=frozenset(running))
    assert reasons.keys() == refused.keys()
    for action, reason in reasons.items():
        assert refused[action] in reason


def test_who_may_not_manage_is_refused_every_action() -> None:
    reasons = refusals(replace(SOUND, pool_hands=99), refusal="you may not", running=frozenset())
    assert reasons.keys() == DIALOGS.keys()
    assert set(reasons.values()) == {"you may not"}


POOR = replace(OLDER, recall_at_1=0.9, embedding_fingerprint="ff")
OLDEST = replace(OLDER, name="v0000")


@pytest.mark.parametrize(
    ("overview", "action", "name", "texts"),
    [
        (SOUND, "publish", "v0001", ["by v0001, which holds 60 hands", "rolling back returns to it"]),
        (SOUND, "publish", "v0009", ["is answered by v0009, from"]),  # removed by somebody else meanwhile
        (SOUND, "rollback", "v0001", ["v0002 stays, and can be published again"]),
        (SOUND, "build", "", ["goes on in v0002 meanwhile", "of the whole pool (70 hands)"]),
        (replace(SOUND, pool_hands=75), "add", "", ["5 hands that only the pool has"]),
        (SOUND, "verify", "v0001", ["Every hand of v0001 is read"]),
        (SOUND, "remove", "v0001", ["v0001 (60 hands, 1.5 MB) is removed for good"]),
        (SOUND, "prune", "", ["every one that somebody has open"]),
        (
            replace(SOUND, versions=(), earlier=None, embedding=None),
            "build",
            "",
            ["an embedding that is fitted first", "nothing to search before it is done"],
        ),
        (
            replace(SOUND, versions=(NEWER, POOR)),
            "publish",
            "v0001",
            ["v0001 misses neighbours: its recall@1 is 0.9000", "not comparable with those of v0002"],
        ),
    ],
)
def test_who_is_about_to_act_reads_what_happens(
    overview: Overview, action: str, name: str, texts: list[str]
) -> None:
    sentences = " ".join(what_happens(overview, action, name))  # type: ignore[arg-type]
    assert all(text in sentences for text in texts)
    if name == "v0001" and overview is SOUND:
        assert not re.search("misses|comparable", sentences)


def test_clearing_up_leaves_the_newest_and_the_current_version() -> None:
    current_is_oldest = (replace(NEWER, is_current=False), OLDER, replace(OLDEST, is_current=True))
    assert pruned(replace(SOUND, versions=current_is_oldest), 1) == ["v0001"]
    assert pruned(replace(SOUND, versions=current_is_oldest), 3) == []
    assert pruned(replace(SOUND, versions=(NEWER, OLDER, OLDEST)), 1) == ["v0000", "v0001"]

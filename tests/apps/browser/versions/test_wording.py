"""What is said before anything is done."""

from dataclasses import replace

from apps.browser.index.overview import TITLES, VERBS, Overview, pruned, what_happens
from tests.apps.browser.versions.some_versions import NEWER, OLDER, SOUND


def said(seen: Overview, action: str, name: str = "") -> str:
    return " ".join(what_happens(seen, action, name))  # type: ignore[arg-type]


def test_every_action_is_told() -> None:
    assert TITLES.keys() == VERBS.keys()
    for action in TITLES:
        assert len(said(SOUND, action, "v0001")) > 50


def test_for_whom() -> None:
    published = said(SOUND, "publish", "v0001")
    assert "is answered by v0001, which holds 60 hands, from the next question on" in published
    assert "v0002 stays, and rolling back returns to it" in published
    assert "goes on in v0002 meanwhile" in said(SOUND, "build")
    assert "some 5 hands that only the pool holds" in said(replace(SOUND, pool_hands=75), "add")
    assert "v0001 (60 hands, 1.5 MB) is removed for good" in said(SOUND, "remove", "v0001")


def test_before_there_is_anything() -> None:
    empty = replace(SOUND, versions=(), earlier=None, embedding=None)
    built = said(empty, "build")
    assert "an embedding that is fitted first" in built
    assert "nothing to search before it is done" in built


def test_warnings() -> None:
    poor = replace(OLDER, recall_at_1=0.9, embedding_fingerprint="ff")
    warned = said(replace(SOUND, versions=(NEWER, poor)), "publish", "v0001")
    assert "v0001 misses neighbours: its recall@1 is 0.9000" in warned
    assert "distances are not comparable with those of v0002" in warned
    assert "misses" not in said(SOUND, "publish", "v0001")
    assert "comparable" not in said(SOUND, "rollback", "v0001")
    # Removed by somebody else meanwhile: said all the same, and refused when it is done.
    assert "is answered by v0009, from" in said(SOUND, "publish", "v0009")


def test_what_clearing_up_takes() -> None:
    oldest = replace(OLDER, name="v0000")
    seen = replace(
        SOUND, versions=(replace(NEWER, is_current=False), OLDER, replace(oldest, is_current=True))
    )
    assert pruned(seen, 1) == ["v0001"]
    assert pruned(seen, 3) == []
    assert pruned(replace(SOUND, versions=(NEWER, OLDER, oldest)), 1) == ["v0000", "v0001"]

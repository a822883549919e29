"""What an action on the index will do, and to whom, before it is done."""

from collections.abc import Callable
from typing import Final

from apps.browser.versions.overview import Action, Overview, told_embedding
from index import VersionInfo
from index.verification import LEAST_RECALL

TITLES: Final[dict[Action, str]] = {
    "build": "Build a new version",
    "add": "Add the pool's new hands",
    "verify": "Verify a version",
    "publish": "Publish a version",
    "rollback": "Roll back",
    "remove": "Remove a version",
    "prune": "Clear up old versions",
}
VERBS: Final[dict[Action, str]] = {
    "build": "Build",
    "add": "Add them",
    "verify": "Verify",
    "publish": "Publish",
    "rollback": "Roll back",
    "remove": "Remove for good",
    "prune": "Clear up",
}
_OUTSIDE: Final = "It runs in a process of its own, goes on when this page is closed, and can be stopped."


def what_happens(seen: Overview, action: Action, name: str) -> list[str]:
    """Sentences for who is about to do it; ``name`` is the version, where it is about one."""
    return _SAID[action](seen, name)


def _build(seen: Overview, name: str) -> list[str]:
    by = (
        "an embedding that is fitted first"
        if seen.embedding is None
        else f"the home's embedding, {' '.join(seen.embedding)}"
    )
    made = f"All {seen.pool_hands or 0:,} hands of the pool are written into a new version by {by}."
    return [made, _meanwhile(seen), _OUTSIDE]


def _add(seen: Overview, name: str) -> list[str]:
    assert seen.current is not None, "nothing to add to is refused"
    return [
        f"A new version is made of {seen.current.name} and some {seen.to_add:,} hands that only the pool "
        f"holds, placed by the embedding of {seen.current.name}.",
        _meanwhile(seen),
        _OUTSIDE,
    ]


def _meanwhile(seen: Overview) -> str:
    return (
        "There is nothing to search before it is done."
        if seen.current is None
        else f"Whoever searches, mines or trains goes on in {seen.current.name} meanwhile."
    )


def _verify(seen: Overview, name: str) -> list[str]:
    return [
        f"Every hand of {name} is read, and what it finds for some of them is compared with exact search. "
        f"It changes nothing but the recall shown here.",
        _OUTSIDE,
    ]


def _publish(seen: Overview, name: str) -> list[str]:
    said = [_everybody(seen, name)]
    if seen.current is not None:
        said.append(f"{seen.current.name} stays, and rolling back returns to it.")
    info = _info(seen, name)
    if info is not None and info.recall_at_1 is not None and info.recall_at_1 < LEAST_RECALL:
        said.append(f"Mind that {name} misses neighbours: its recall@1 is {info.recall_at_1:.4f}.")
    return [*said, *_other_distances(seen, info)]


def _rollback(seen: Overview, name: str) -> list[str]:
    said = [_everybody(seen, name)]
    if seen.current is not None:
        said.append(f"{seen.current.name} stays, and can be published again.")
    return [*said, *_other_distances(seen, _info(seen, name))]


def _everybody(seen: Overview, name: str) -> str:
    info = _info(seen, name)
    holds = "" if info is None else f", which holds {info.points:,} hands"
    return (
        f"Everybody who searches, mines or trains by this index is answered by {name}{holds}, from the next "
        f"question on. Nobody is interrupted: a question that is being answered is answered to its end."
    )


def _other_distances(seen: Overview, info: VersionInfo | None) -> list[str]:
    if info is None or seen.current is None:
        return []
    if info.embedding_fingerprint == seen.current.embedding_fingerprint:
        return []
    return [
        f"{info.name} was made by another embedding, {told_embedding(info)}: distances are not comparable "
        f"with those of {seen.current.name}."
    ]


def _remove(seen: Overview, name: str) -> list[str]:
    info = _info(seen, name)
    size = "" if info is None or info.bytes_on_disk is None else f", {info.bytes_on_disk / 1e6:,.1f} MB"
    hands = "" if info is None else f" ({info.points:,} hands{size})"
    return [
        f"{name}{hands} is removed for good; it can be built again, but no more gone back to.",
        "If anybody has it open, it is left where it is, and you are told.",
    ]


def _prune(seen: Overview, name: str) -> list[str]:
    return [
        "Older versions are removed for good, and what builds left behind that were killed. The current "
        "version stays, and so does every one that somebody has open.",
    ]


def pruned(seen: Overview, keep: int) -> list[str]:
    """Versions that clearing up takes where nobody has them open, oldest first."""
    return [info.name for info in reversed(seen.versions[keep:]) if not info.is_current]


def _info(seen: Overview, name: str) -> VersionInfo | None:
    return next((info for info in seen.versions if info.name == name), None)


_SAID: Final[dict[Action, Callable[[Overview, str], list[str]]]] = {
    "build": _build,
    "add": _add,
    "verify": _verify,
    "publish": _publish,
    "rollback": _rollback,
    "remove": _remove,
    "prune": _prune,
}

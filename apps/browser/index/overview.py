"""The state of a home's index: versions, health, what cannot be done now, and what an action would do.

No hands are read for it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from apps.browser.library import Library
from handsim.embedding import load_embedding
from handsim.errors import HandsimError, NotThereError
from handsim.home import Home
from handsim.pool.layout import count_hands
from index import Catalog, VersionInfo
from index.evaluation import LEAST_RECALL

Level = Literal["good", "note", "bad"]
Action = Literal["build", "add", "verify", "publish", "rollback", "remove", "prune"]

READ_ONLY: Final = (
    "This browser is read-only: it was started with --read-only, or where other computers reach it, without "
    "--allow-actions"
)


@dataclass(frozen=True)
class Overview:
    """The versions and what is around them, as of one moment."""

    address: str
    """The index's directory or URL."""
    versions: tuple[VersionInfo, ...]
    """Newest first."""
    earlier: str | None
    """The version that rolling back leads to."""
    builder: str | None
    """The process that writes one just now."""
    pool_hands: int | None
    """None without a pool."""
    embedding: tuple[str, str] | None
    """Of the home, for the next build: ``pose-14`` and its fingerprint. None: it is to be fitted."""
    errors: tuple[str, ...] = ()
    """What could not be read, each in a sentence."""

    @property
    def current(self) -> VersionInfo | None:
        """The version that everybody gets."""
        return next((info for info in self.versions if info.is_current), None)

    @property
    def to_add(self) -> int:
        """Hands that the pool has more than the current version, at least none."""
        return max(0, (self.pool_hands or 0) - (self.current.points if self.current else 0))

    @property
    def is_on_server(self) -> bool:
        """Whether the index is a server's and not a directory."""
        return "://" in self.address


@dataclass(frozen=True)
class Finding:
    """Something about the index's health."""

    level: Level
    """``note``: worth knowing; ``bad``: to be mended."""
    text: str
    """A sentence, with the remedy where there is one."""


def read_overview(library: Library) -> Overview:
    """Ask the catalog, the pool's footers and the home's embedding; raises as the catalog does."""
    catalog, home = library.catalog, library.home
    versions = tuple(reversed(catalog.versions()))
    errors: list[str] = []
    return Overview(
        address=catalog.address,
        versions=versions,
        earlier=earlier_version(catalog, versions),
        builder=catalog.active_builder(),
        pool_hands=_pool_hands(home, errors),
        embedding=_embedding(home, errors),
        errors=tuple(errors),
    )


def earlier_version(catalog: Catalog, versions: Iterable[VersionInfo]) -> str | None:
    """The one of ``versions``, all that are there, that rolling back leads to; None where there is none."""
    names = {info.name for info in versions}
    return next((name for name in catalog.publications()[1:] if name in names), None)


def _pool_hands(home: Home, errors: list[str]) -> int | None:
    try:
        return count_hands(home.pool)
    except NotThereError:
        return None
    except (HandsimError, OSError) as error:
        errors.append(str(error))
        return None


def _embedding(home: Home, errors: list[str]) -> tuple[str, str] | None:
    try:
        embedding = load_embedding(home.embedding)
    except NotThereError:
        return None
    except (HandsimError, OSError) as error:
        errors.append(str(error))
        return None
    return f"{embedding.kind}-{embedding.dimension}", embedding.fingerprint


def embedding_title(info: VersionInfo) -> str:
    """Kind, dimension and fingerprint of a version's embedding, as `handsim index list` writes them."""
    return f"{info.embedding_kind}-{info.dimension} {info.embedding_fingerprint}"


def findings(overview: Overview) -> list[Finding]:
    """What there is to say about the health of an index with versions; what is bad first."""
    found = [Finding("bad", sentence) for sentence in overview.errors]
    if overview.current is None:
        found.append(Finding("bad", "No version is current, so nothing can be searched; publish one."))
    for info in sorted(overview.versions, key=lambda info: not info.is_current):
        found.extend(_recall_findings(info))
    if overview.current is not None:
        found.extend(_pool_findings(overview, overview.current))
        found.extend(_embedding_findings(overview, overview.current))
    if overview.builder is not None:
        found.append(Finding("note", f"A version is being built by {overview.builder}."))
    if not found:
        found.append(
            Finding(
                "good",
                "The current version finds what exact search finds, holds as many hands as the pool, and was "
                "made by the home's embedding.",
            )
        )
    return sorted(found, key=lambda finding: finding.level != "bad")


def _recall_findings(info: VersionInfo) -> list[Finding]:
    if info.recall_at_1 is None:
        return [Finding("note", f"{info.name} was never verified.")]
    if info.recall_at_1 < LEAST_RECALL:
        return [
            Finding(
                "bad",
                f"{info.name} misses neighbours: recall@1 is {info.recall_at_1:.4f}, below "
                f"{LEAST_RECALL:.3g}; build again with a larger ef, ef_construct or m.",
            )
        ]
    return []


def _pool_findings(overview: Overview, current: VersionInfo) -> list[Finding]:
    if overview.pool_hands is None:
        return [
            Finding("note", "There is no pool in this home that could be read, so hands are not compared.")
        ]
    if overview.to_add:
        return [
            Finding(
                "note",
                f"The pool holds {overview.pool_hands:,} hands, {current.name} {current.points:,}: "
                f"{overview.to_add:,} cannot be searched yet; add them.",
            )
        ]
    if overview.pool_hands < current.points:
        return [
            Finding(
                "bad",
                f"{current.name} holds {current.points - overview.pool_hands:,} hands more than the pool, "
                f"which have no pictures; build again.",
            )
        ]
    return []


def _embedding_findings(overview: Overview, current: VersionInfo) -> list[Finding]:
    if overview.embedding is None or overview.embedding[1] == current.embedding_fingerprint:
        return []
    return [
        Finding(
            "note",
            f"The home's embedding is {' '.join(overview.embedding)}, that of {current.name} is "
            f"{embedding_title(current)}: the next build takes the home's, distances then are others.",
        )
    ]


def refusals(overview: Overview, *, actions: bool, running: frozenset[str]) -> dict[Action, str]:
    """Why actions cannot be done now; those that can be are not in it.

    ``running`` are the jobs that run, ``actions`` whether any may be done at all.
    """
    every: tuple[Action, ...] = ("build", "add", "verify", "publish", "rollback", "remove", "prune")
    if not actions:
        return dict.fromkeys(every, READ_ONLY)
    refused: dict[Action, str] = {}
    if "verify" in running:
        refused["verify"] = "Another version is being verified"
    if overview.earlier is None:
        refused["rollback"] = "No other version was published before the current one and is still there"
    if len(overview.versions) < 2:
        refused["prune"] = "There are no older versions"
    if overview.current is None:
        refused["add"] = "There is no current version to add to; build one"
    elif not overview.to_add:
        refused["add"] = "The pool holds no more hands than the current version"
    if not overview.pool_hands:
        refused["build"] = refused["add"] = "There are no hands in the pool; `handsim ingest PATH` first"
    if overview.builder is not None or running & {"build", "add"}:
        refused["build"] = refused["add"] = "Another version is being built"
    return refused


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


def what_happens(overview: Overview, action: Action, name: str) -> list[str]:
    """Sentences for who is about to do it; ``name`` is the version, where it is about one."""
    return _SENTENCES[action](overview, name)


def _build(overview: Overview, name: str) -> list[str]:
    by = (
        "an embedding that is fitted first"
        if overview.embedding is None
        else f"the home's embedding, {' '.join(overview.embedding)}"
    )
    made = f"All {overview.pool_hands or 0:,} hands of the pool are written into a new version by {by}."
    return [made, _meanwhile(overview), _OUTSIDE]


def _add(overview: Overview, name: str) -> list[str]:
    assert overview.current is not None, "nothing to add to is refused"
    return [
        f"A new version is made of {overview.current.name} and the {overview.to_add:,} hands that only the "
        f"pool has, with the embedding of {overview.current.name}.",
        _meanwhile(overview),
        _OUTSIDE,
    ]


def _meanwhile(overview: Overview) -> str:
    return (
        "There is nothing to search before it is done."
        if overview.current is None
        else f"Whoever searches, mines or trains goes on in {overview.current.name} meanwhile."
    )


def _verify(overview: Overview, name: str) -> list[str]:
    return [
        f"Every hand of {name} is read, and what it finds for some of them is compared with exact search. "
        f"It changes nothing but the recall shown here.",
        _OUTSIDE,
    ]


def _publish(overview: Overview, name: str) -> list[str]:
    sentences = [_everybody(overview, name)]
    if overview.current is not None:
        sentences.append(f"{overview.current.name} stays, and rolling back returns to it.")
    info = _info(overview, name)
    if info is not None and info.recall_at_1 is not None and info.recall_at_1 < LEAST_RECALL:
        sentences.append(f"Note that {name} misses neighbours: its recall@1 is {info.recall_at_1:.4f}.")
    return [*sentences, *_other_distances(overview, info)]


def _rollback(overview: Overview, name: str) -> list[str]:
    sentences = [_everybody(overview, name)]
    if overview.current is not None:
        sentences.append(f"{overview.current.name} stays, and can be published again.")
    return [*sentences, *_other_distances(overview, _info(overview, name))]


def _everybody(overview: Overview, name: str) -> str:
    info = _info(overview, name)
    holds = "" if info is None else f", which holds {info.points:,} hands"
    return (
        f"Everybody who searches, mines or trains by this index is answered by {name}{holds}, from the next "
        f"question on. Nobody is interrupted: a question that is being answered is answered to its end."
    )


def _other_distances(overview: Overview, info: VersionInfo | None) -> list[str]:
    if info is None or overview.current is None:
        return []
    if info.embedding_fingerprint == overview.current.embedding_fingerprint:
        return []
    return [
        f"{info.name} was made by another embedding, {embedding_title(info)}: distances are not comparable "
        f"with those of {overview.current.name}."
    ]


def _remove(overview: Overview, name: str) -> list[str]:
    info = _info(overview, name)
    size = "" if info is None or info.bytes_on_disk is None else f", {info.bytes_on_disk / 1e6:,.1f} MB"
    hands = "" if info is None else f" ({info.points:,} hands{size})"
    return [
        f"{name}{hands} is removed for good; it can be built again, but not restored.",
        "If a reader has it open, it stays, and a message says so.",
    ]


def _prune(overview: Overview, name: str) -> list[str]:
    return [
        "Older versions are removed for good, and what builds left behind that were killed. The current "
        "version stays, and so does every one that somebody has open.",
    ]


def pruned(overview: Overview, keep: int) -> list[str]:
    """Versions that clearing up takes where nobody has them open, oldest first."""
    return [info.name for info in reversed(overview.versions[keep:]) if not info.is_current]


def _info(overview: Overview, name: str) -> VersionInfo | None:
    return next((info for info in overview.versions if info.name == name), None)


_SENTENCES: Final[dict[Action, Callable[[Overview, str], list[str]]]] = {
    "build": _build,
    "add": _add,
    "verify": _verify,
    "publish": _publish,
    "rollback": _rollback,
    "remove": _remove,
    "prune": _prune,
}

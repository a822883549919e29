"""How the index of a home stands, from what can be known without reading hands."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from apps.browser.library import Library
from handsim.embedding import load_embedding
from handsim.errors import HandsimError, NotThereError
from handsim.home import Home
from handsim.pool.layout import count_hands
from index import Catalog, VersionInfo
from index.verification import LEAST_RECALL

Level = Literal["good", "note", "bad"]
Action = Literal["build", "add", "verify", "publish", "rollback", "remove", "prune"]

READ_ONLY: Final = (
    "Only looking is allowed here: the browser was started with --read-only, or where other computers reach "
    "it and without --allow-actions"
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
    trouble: tuple[str, ...] = ()
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


def look(library: Library) -> Overview:
    """Ask the catalog, the pool's footers and the home's embedding; raises as the catalog does."""
    catalog, home = library.catalog, library.home
    versions = tuple(reversed(catalog.versions()))
    trouble: list[str] = []
    return Overview(
        address=catalog.address,
        versions=versions,
        earlier=earlier_version(catalog, versions),
        builder=catalog.under_way(),
        pool_hands=_pool_hands(home, trouble),
        embedding=_embedding(home, trouble),
        trouble=tuple(trouble),
    )


def earlier_version(catalog: Catalog, versions: Iterable[VersionInfo]) -> str | None:
    """The one of ``versions``, all that are there, that rolling back leads to; None where there is none."""
    names = {info.name for info in versions}
    return next((name for name in catalog.publications()[1:] if name in names), None)


def _pool_hands(home: Home, trouble: list[str]) -> int | None:
    try:
        return count_hands(home.pool)
    except NotThereError:
        return None
    except (HandsimError, OSError) as error:
        trouble.append(str(error))
        return None


def _embedding(home: Home, trouble: list[str]) -> tuple[str, str] | None:
    try:
        found = load_embedding(home.embedding)
    except NotThereError:
        return None
    except (HandsimError, OSError) as error:
        trouble.append(str(error))
        return None
    return f"{found.kind}-{found.dimension}", found.fingerprint


def told_embedding(info: VersionInfo) -> str:
    """Kind, length and fingerprint of a version's embedding, as `handsim index list` writes them."""
    return f"{info.embedding_kind}-{info.dimension} {info.embedding_fingerprint}"


def findings(seen: Overview) -> list[Finding]:
    """What there is to say about the health of an index with versions; what is bad first."""
    said = [Finding("bad", sentence) for sentence in seen.trouble]
    if seen.current is None:
        said.append(Finding("bad", "No version is current, so nothing can be searched; publish one."))
    for info in sorted(seen.versions, key=lambda info: not info.is_current):
        said.extend(_recall_findings(info))
    if seen.current is not None:
        said.extend(_pool_findings(seen, seen.current))
        said.extend(_embedding_findings(seen, seen.current))
    if seen.builder is not None:
        said.append(Finding("note", f"A version is being built by {seen.builder}."))
    if not said:
        said.append(
            Finding(
                "good",
                "The current version finds what exact search finds, holds as many hands as the pool, and was "
                "made by the home's embedding.",
            )
        )
    return sorted(said, key=lambda finding: finding.level != "bad")


def _recall_findings(info: VersionInfo) -> list[Finding]:
    if info.recall_at_1 is None:
        return [Finding("note", f"{info.name} was never verified.")]
    if info.recall_at_1 < LEAST_RECALL:
        told = f"{info.name} misses neighbours: recall@1 is {info.recall_at_1:.4f}, below {LEAST_RECALL:.3g};"
        return [Finding("bad", f"{told} build again with a larger ef, ef_construct or m.")]
    return []


def _pool_findings(seen: Overview, current: VersionInfo) -> list[Finding]:
    if seen.pool_hands is None:
        return [
            Finding("note", "There is no pool in this home that could be read, so hands are not compared.")
        ]
    if seen.to_add:
        return [
            Finding(
                "note",
                f"The pool holds {seen.pool_hands:,} hands, {current.name} {current.points:,}: "
                f"{seen.to_add:,} cannot be searched yet; add them.",
            )
        ]
    if seen.pool_hands < current.points:
        return [
            Finding(
                "bad",
                f"{current.name} holds {current.points - seen.pool_hands:,} hands more than the pool, "
                f"which have no pictures; build again.",
            )
        ]
    return []


def _embedding_findings(seen: Overview, current: VersionInfo) -> list[Finding]:
    if seen.embedding is None or seen.embedding[1] == current.embedding_fingerprint:
        return []
    return [
        Finding(
            "note",
            f"The home's embedding is {' '.join(seen.embedding)}, that of {current.name} is "
            f"{told_embedding(current)}: the next build takes the home's, distances then are others.",
        )
    ]


def refusals(seen: Overview, *, actions: bool, running: frozenset[str]) -> dict[Action, str]:
    """Why actions cannot be done now; those that can be are not in it.

    ``running`` are the jobs that run, ``actions`` whether any may be done at all.
    """
    every: tuple[Action, ...] = ("build", "add", "verify", "publish", "rollback", "remove", "prune")
    if not actions:
        return dict.fromkeys(every, READ_ONLY)
    refused: dict[Action, str] = {}
    if "verify" in running:
        refused["verify"] = "Another version is being verified"
    if seen.earlier is None:
        refused["rollback"] = "No other version was published before the current one and is still there"
    if len(seen.versions) < 2:
        refused["prune"] = "There are no older versions"
    if seen.current is None:
        refused["add"] = "There is no current version to add to; build one"
    elif not seen.to_add:
        refused["add"] = "The pool holds no more hands than the current version"
    if not seen.pool_hands:
        refused["build"] = refused["add"] = "There are no hands in the pool; `handsim ingest PATH` first"
    if seen.builder is not None or running & {"build", "add"}:
        refused["build"] = refused["add"] = "Another version is being built"
    return refused

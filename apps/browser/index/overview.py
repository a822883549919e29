"""The state of a home's index: versions, health, what cannot be done now, and what an action would do.

No hands are read for it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, get_args

from apps.browser.library import Library
from handsim.embedding import load_embedding
from handsim.embedding.pose import DEFAULT_COMPONENTS
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.home import Home
from handsim.pool.layout import count_hands
from index import Catalog, VersionInfo
from index.evaluation import LEAST_RECALL
from index.info import Remnant, VersionHealth

Content = TypeVar("Content")
Level = Literal["good", "note", "bad"]
Action = Literal["build", "add", "verify", "publish", "rollback", "remove", "prune"]


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
    health: VersionHealth | None = None
    """Of the current version; None embedded, and where the server does not tell."""
    remnants: tuple[Remnant, ...] = ()
    """What processes left of versions that ended; nothing while one writes."""
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
        return "://" in self.address


@dataclass(frozen=True)
class Finding:
    level: Level
    """``note``: worth knowing; ``bad``: to be mended."""
    text: str
    """A sentence, with the remedy where there is one."""


def read_overview(library: Library) -> Overview:
    """Ask the catalog, the pool's footers and the home's embedding; raises as the catalog does."""
    catalog, home = library.catalog, library.home
    versions = tuple(reversed(catalog.versions()))
    builder = catalog.active_builder()
    errors: list[str] = []
    embedding = _read(lambda: _read_embedding(home), errors)
    current = next((info.name for info in versions if info.is_current), None)
    return Overview(
        address=catalog.address,
        versions=versions,
        earlier=earlier_version(catalog, versions),
        builder=builder,
        pool_hands=_read(lambda: count_hands(home.pool), errors),
        embedding=embedding,
        health=None if current is None else catalog.read_health(current),
        remnants=() if builder else tuple(catalog.remnants()),
        errors=tuple(errors),
    )


def _read_embedding(home: Home) -> tuple[str, str]:
    embedding = load_embedding(home.embedding)
    return f"{embedding.kind}-{embedding.dimension}", embedding.fingerprint


def earlier_version(catalog: Catalog, versions: Iterable[VersionInfo]) -> str | None:
    """The one of ``versions``, all that are there, that rolling back leads to; None where there is none."""
    names = {info.name for info in versions}
    return next((name for name in catalog.publications()[1:] if name in names), None)


def _read(read: Callable[[], Content], errors: list[str]) -> Content | None:
    """What ``read`` returns; None for what is not there, and for what it cannot read, which is an error."""
    try:
        return read()
    except NotThereError:
        return None
    except (HandsimError, OSError) as error:
        errors.append(str(error))
        return None


def embedding_title(info: VersionInfo) -> str:
    """Kind, dimension and fingerprint of a version's embedding, as `handsim index list` writes them."""
    return f"{info.embedding_kind}-{info.dimension} {info.embedding_fingerprint}"


def findings(overview: Overview) -> list[Finding]:
    """What there is to say about the health of an index with versions; what is bad first."""
    sound = Finding(
        "good",
        "The current version finds what exact search finds, holds as many hands as the pool, and was made by "
        "the home's embedding.",
    )
    found = list(_problems(overview)) or [sound]
    return sorted(found, key=lambda finding: finding.level != "bad")


def _problems(overview: Overview) -> Iterator[Finding]:
    for sentence in overview.errors:
        yield Finding("bad", sentence)
    if overview.current is None:
        yield Finding("bad", "No version is current, so nothing can be searched; publish one.")
    for info in sorted(overview.versions, key=lambda info: not info.is_current):
        if info.recall_at_1 is None:
            yield Finding("note", f"{info.name} was never verified.")
        elif info.recall_at_1 < LEAST_RECALL:
            yield Finding(
                "bad",
                f"{info.name} misses neighbours: recall@1 is {info.recall_at_1:.4f}, below "
                f"{LEAST_RECALL:.3g}; build again with a larger ef, ef_construct or m.",
            )
    if overview.current is not None:
        yield from _differences(overview, overview.current)
        health = overview.health
        if health is not None and health.severity is not None:
            yield Finding(
                "bad" if health.severity == "wrong" else "note",
                f"{overview.current.name} on the server: {health}; handsim index doctor says what to do.",
            )
    if overview.remnants:
        names = ", ".join(map(str, overview.remnants))
        yield Finding(
            "note",
            f"Left by processes that ended: {names}. The next build continues or replaces what is "
            "unfinished, clearing up removes it.",
        )
    if overview.builder is not None:
        yield Finding("note", f"A version is being built by {overview.builder}.")


def _differences(overview: Overview, current: VersionInfo) -> Iterator[Finding]:
    """Between the current version and what the home has now."""
    hands, embedding = overview.pool_hands, overview.embedding
    if hands is None:
        yield Finding("note", "There is no pool in this home that could be read, so hands are not compared.")
    elif overview.to_add:
        yield Finding(
            "note",
            f"The pool holds {pluralize(hands, 'hand')}, {current.name} {current.points:,}: "
            f"{overview.to_add:,} cannot be searched yet; add them.",
        )
    elif hands < current.points:
        yield Finding(
            "bad",
            f"{current.name} holds {pluralize(current.points - hands, 'hand')} more than the pool, without "
            "pictures; build again.",
        )
    if embedding is not None and embedding[1] != current.embedding_fingerprint:
        yield Finding(
            "note",
            f"The home's embedding is {' '.join(embedding)}, that of {current.name} is "
            f"{embedding_title(current)}: the next build takes the home's, distances then are others.",
        )


def refusals(overview: Overview, *, refusal: str | None, running: frozenset[str]) -> dict[Action, str]:
    """Why actions cannot be done now; those that can be are not in it.

    ``running`` are the jobs that run, ``refusal`` why this visitor may do none at all.
    """
    if refusal is not None:
        return dict.fromkeys(get_args(Action), refusal)
    refused: dict[Action, str] = {}
    if "verify" in running:
        refused["verify"] = "Another version is being verified"
    if overview.earlier is None:
        refused["rollback"] = "No other version was published before the current one and is still there"
    if len(overview.versions) < 2 and not overview.remnants:
        refused["prune"] = "There are no older versions"
    if overview.current is None:
        refused["add"] = "There is no current version to add to; build one"
    elif not overview.to_add:
        refused["add"] = "The pool holds no more hands than the current version"
    if overview.embedding is None and (overview.pool_hands or 0) <= DEFAULT_COMPONENTS:
        refused["build"] = (
            f"An index needs at least {DEFAULT_COMPONENTS + 1} hands, and the pool holds "
            f"{overview.pool_hands}; add more"
        )
    if not overview.pool_hands:
        refused["build"] = refused["add"] = "There are no hands in the pool; `handsim ingest PATH` first"
    if overview.builder is not None or running & {"build", "add"}:
        refused["build"] = refused["add"] = "Another version is being built"
    return refused


DIALOGS: Final[dict[Action, tuple[str, str]]] = {
    "build": ("Build a new version", "Build"),
    "add": ("Add the pool's new hands", "Add them"),
    "verify": ("Verify a version", "Verify"),
    "publish": ("Publish a version", "Publish"),
    "rollback": ("Roll back", "Roll back"),
    "remove": ("Remove a version", "Remove for good"),
    "prune": ("Clear up old versions", "Clear up"),
}
"""Action -> the title of its dialog, and the button that does it."""
_OUTSIDE: Final = "It runs in a process of its own, goes on when this page is closed, and can be stopped."


def what_happens(overview: Overview, action: Action, name: str) -> list[str]:
    """Sentences for who is about to do it; ``name`` is the version, where it is about one."""
    current = overview.current
    info = next((info for info in overview.versions if info.name == name), None)
    meanwhile = "There is nothing to search before it is done."
    if current is not None:
        meanwhile = f"Whoever searches, mines or trains goes on in {current.name} meanwhile."
    match action:
        case "build":
            by = "an embedding that is fitted first"
            if overview.embedding is not None:
                by = f"the home's embedding, {' '.join(overview.embedding)}"
            hands = pluralize(overview.pool_hands or 0, "hand")
            made = f"A new version is written by {by}, of the whole pool ({hands})."
            return [made, meanwhile, _OUTSIDE]
        case "add":
            assert current is not None, "nothing to add to is refused"
            made = (
                f"A new version is made of {current.name} and {pluralize(overview.to_add, 'hand')} that only "
                f"the pool has, with the embedding of {current.name}."
            )
            return [made, meanwhile, _OUTSIDE]
        case "verify":
            done = (
                f"Every hand of {name} is read, and what it finds for some of them is compared with exact "
                "search. It changes nothing but the recall shown here."
            )
            return [done, _OUTSIDE]
        case "publish" | "rollback":
            return _what_publishing_does(current, info, action, name)
        case "remove":
            size = (
                "" if info is None or info.bytes_on_disk is None else f", {info.bytes_on_disk / 1e6:,.1f} MB"
            )
            hands = "" if info is None else f" ({pluralize(info.points, 'hand')}{size})"
            return [
                f"{name}{hands} is removed for good; it can be built again, but not restored.",
                "If a reader has it open, it stays, and a message says so.",
            ]
        case "prune":
            return [
                "Older versions are removed for good, and what builds left behind that were killed. The "
                "current version stays, and so does every one that somebody has open."
            ]


def _what_publishing_does(
    current: VersionInfo | None, info: VersionInfo | None, action: Action, name: str
) -> list[str]:
    """``info`` is None for a version that was removed meanwhile: what is done then refuses it."""
    holds = "" if info is None else f", which holds {pluralize(info.points, 'hand')}"
    sentences = [
        f"Everybody who searches, mines or trains by this index is answered by {name}{holds}, from the next "
        "question on. Nobody is interrupted: a question that is being answered is answered to its end."
    ]
    if current is not None:
        way_back = "rolling back returns to it" if action == "publish" else "can be published again"
        sentences.append(f"{current.name} stays, and {way_back}.")
    if info is not None and info.recall_at_1 is not None and info.recall_at_1 < LEAST_RECALL:
        sentences.append(f"Note that {name} misses neighbours: its recall@1 is {info.recall_at_1:.4f}.")
    if info and current and info.embedding_fingerprint != current.embedding_fingerprint:
        sentences.append(
            f"{name} was made by another embedding, {embedding_title(info)}: distances are not comparable "
            f"with those of {current.name}."
        )
    return sentences


def pruned(overview: Overview, keep: int) -> list[str]:
    """Versions that clearing up takes where nobody has them open, oldest first."""
    return [info.name for info in reversed(overview.versions[keep:]) if not info.is_current]

"""What is wrong with an index, embedded or on a server, and what to do about it.

`examine` asks what both engines share; what only an engine knows it asks `Catalog.examine_engine` and
`Catalog.examine_version`. Nothing is repaired. A check that cannot be made is a finding, not an error.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from handsim.embedding import BlendEmbedding, Embedding, ImageEmbedding
from handsim.errors import HandsimError, NotThereError, UnavailableError

if TYPE_CHECKING:
    from index.catalog import Catalog

Severity = Literal["wrong", "unknown", "hint"]
"""To be mended; could not be checked; worth knowing."""
_ORDER: Final[tuple[Severity, ...]] = ("wrong", "unknown", "hint")


@dataclass(frozen=True)
class Finding:
    """One thing about an index."""

    severity: Severity
    text: str
    """What is so."""
    remedy: str = ""
    """What to do; empty where there is nothing to do, or the text says it."""

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


def examine(catalog: "Catalog") -> list[Finding]:
    """All findings, what is wrong first; no hand is read. Never raises."""
    found: list[Finding] = []
    names: list[str] = []
    try:
        names = catalog.version_names()
    except (HandsimError, OSError) as error:
        found.append(Finding("unknown", f"could not check which versions there are ({error})"))
    else:
        found += check("which version is current", lambda: _examine_current(catalog, names))
    found += check("what ended processes left", lambda: _examine_remnants(catalog))
    for name in names:
        found += check(name, partial(_examine_version, catalog, name))
    found += check("the engine", catalog.examine_engine)
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def check(subject: str, find: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a check finds, up to where it cannot go on, and why it cannot."""
    try:
        yield from find()
    except (HandsimError, OSError) as error:
        yield Finding("unknown", f"could not check {subject} ({error})")


def find_missing_weights(embedding: Embedding, name: str) -> Iterator[Finding]:
    """Whether pictures can be embedded with a version's embedding here."""
    image = embedding.image if isinstance(embedding, BlendEmbedding) else embedding
    if isinstance(image, ImageEmbedding):
        try:
            image.weights_file()
        except NotThereError as error:
            yield Finding("wrong", f"{name} can be searched by its own hands, but by no picture: {error}")


def _examine_current(catalog: "Catalog", complete: list[str]) -> Iterator[Finding]:
    if not complete:
        yield Finding(
            "wrong", f"{catalog.address} has no version to search", "`handsim index build` makes one"
        )
        return
    remedy = f"`handsim index publish {complete[-1]}` makes one current (there are: {', '.join(complete)})"
    try:
        current = catalog.current_name()
    except UnavailableError:
        raise
    except HandsimError as error:
        yield Finding("wrong", str(error), remedy)
        return
    if current is None:
        yield Finding("wrong", "no version is current, so nothing can be searched", remedy)
    elif current not in complete:
        yield Finding("wrong", f"{current} is current, and not there or not complete", remedy)


def _examine_remnants(catalog: "Catalog") -> Iterator[Finding]:
    if builder := catalog.active_builder():
        yield Finding("hint", f"a version is being built by {builder}")
        return
    for remnant in catalog.remnants():
        yield Finding(
            "wrong",
            f"{remnant} takes space and cannot be searched",
            "`handsim index prune` removes it"
            if remnant.is_removal
            else "`handsim index build` continues or replaces it, `handsim index prune` removes it",
        )


def _examine_version(catalog: "Catalog", name: str) -> Iterator[Finding]:
    try:
        verification = catalog.read_verification(name)
    except NotThereError:
        return  # removed since they were listed
    except UnavailableError:
        raise
    except HandsimError as error:
        yield Finding("wrong", str(error))
        return
    if verification is None:
        yield Finding("wrong", f"{name} is not verified", f"`handsim index verify {name}` does it")
    else:
        for problem in verification.problems():
            yield Finding("wrong", f"{name} is not sound: {problem}")
    yield from catalog.examine_version(name)

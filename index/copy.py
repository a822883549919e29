"""Copying an index: every version of one catalog into another, whatever engine either has.

Between two directories the files are copied, and the graph with them; else the hands, and the graph is built
anew. An interrupted copy goes on: a version that is complete is compared and not copied again, hands that a
server has are not sent again. Only the version that was being written into a directory begins anew: the
engine writes it without a log, so what a killed process leaves of it is not to be trusted.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError, NotThereError
from index.catalog import Catalog
from index.info import IndexSettings
from index.points import Progress
from index.version import IndexVersion


@dataclass(frozen=True)
class Placement:
    """How a server is to store the hands; None: as the original, see `IndexSettings`."""

    shards: int | None = None
    replicas: int | None = None
    on_disk: bool | None = None

    def apply(self, settings: IndexSettings) -> IndexSettings:
        """The settings with this placement; raises HandsimError for one out of bounds."""
        return replace(
            settings,
            shards=settings.shards if self.shards is None else self.shards,
            replicas=settings.replicas if self.replicas is None else self.replicas,
            on_disk=settings.on_disk if self.on_disk is None else self.on_disk,
        )


AS_ORIGINAL: Final = Placement()


def copy_catalog(
    source: Catalog,
    target: Catalog,
    placement: Placement = AS_ORIGINAL,
    *,
    progress: Progress | None = None,
) -> list[str]:
    """Copy every version under its own name, compare each with the original, and publish the same ones.

    The last verification of each comes along, and so does the order of publications. After an interruption,
    call this once more. Returns the names. Raises NotThereError when the source has no version, HandsimError
    when the target lies inside the source, has another version of the same name, or has one that differs from
    its original.
    """
    if source.root is not None and target.root is not None:
        refuse_inside(target.root, source.root)
    publications = source.publications()  # read first: what is published is complete
    infos = source.versions()
    if not infos:
        raise no_version_error(source)
    copied = []
    for info in infos:
        version = open_unless_pruned(source, info.name)
        if version is not None:
            with version:
                copy_version(version, target, placement, progress)
            copy_verification(info.name, source, target)
            copied.append(info.name)
    _publish_alike([name for name in publications if name in copied], target)
    return copied


def no_version_error(source: Catalog) -> NotThereError:
    """The error for an index of which there is nothing to copy."""
    return NotThereError(f"there is no index at {source.address}; `handsim index build` makes one")


def refuse_inside(target: Path, source: Path) -> None:
    """Raise HandsimError when a directory lies inside another one, and would be lost with it."""
    if source.resolve() in target.resolve().parents:
        raise HandsimError(f"{target} is inside {source} and would be lost with it; name a place outside")


def open_unless_pruned(catalog: Catalog, name: str) -> IndexVersion | None:
    """Open a version that was listed a moment ago; None when another process has removed it since."""
    try:
        return catalog.open(name)
    except NotThereError:
        if name in [info.name for info in catalog.versions()]:
            raise
        return None


def copy_version(
    version: IndexVersion, target: Catalog, placement: Placement, progress: Progress | None
) -> None:
    """Copy a version under its own name, unpublished, unless it is there, and compare its hands.

    Raises HandsimError when the target has another one of that name, and when the copy differs.
    """
    info = version.info
    settings = placement.apply(info.settings)
    known = next((other for other in target.versions() if other.name == info.name), None)
    if known is None:
        if placement != AS_ORIGINAL:
            target.plan(version, version.embedding, settings)  # refuses what the target cannot hold
        target.copy_version(version, settings, progress)
    elif known.checksum != info.checksum:
        raise HandsimError(f"{target.address} has a {info.name} of its own; copy to an empty place instead")
    elif placement.apply(known.settings) != known.settings:
        raise HandsimError(
            f"{target.address} has {info.name} already, with {_describe(known.settings)}; leave the options "
            f"out, or copy to an empty place"
        )
    with target.open(info.name) as copied:
        digest = copied.read_checksum()
    if digest != info.checksum:
        raise HandsimError(
            f"{info.name} at {target.address} differs from its original ({digest}, not {info.checksum}); "
            f"`handsim index verify {info.name}` tells which of them is whole; if the original is, copy to "
            f"an empty place"
        )


def copy_verification(name: str, source: Catalog, target: Catalog) -> None:
    """Have the target know what the last verification measured, unless it was verified itself since."""
    measured, own = source.read_verification(name), target.read_verification(name)
    if measured is not None and (own is None or own.verified_at < measured.verified_at):
        target.record_verification(name, measured)


def _publish_alike(publications: list[str], target: Catalog) -> None:
    """Have the target's current version and its rollbacks be those of the original, then its own earlier."""
    before = target.publications()
    there = {info.name for info in target.versions()}
    own = [name for name in before if name in there and name not in publications]
    if publications and [*publications, *own] != before:
        target.set_publications([*publications, *own])


def _describe(settings: IndexSettings) -> str:
    place = "on disk" if settings.on_disk else "in memory"
    return f"--shards {settings.shards} --replicas {settings.replicas} and vectors {place}"

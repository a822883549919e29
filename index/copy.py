"""Moving an index: every version of a catalog into another one, whatever engine either has."""

from collections.abc import Iterator

from handsim.errors import HandsimError, NotThereError
from index.catalog import Catalog
from index.points import Checksum, PointBatch, Progress
from index.version import IndexVersion


class VersionPoints:
    """The hands of a version, with their vectors as they are."""

    def __init__(self, version: IndexVersion) -> None:
        """All hands of an open version."""
        self._version = version

    def __len__(self) -> int:
        return len(self._version)

    def batches(self) -> Iterator[PointBatch]:
        """All of them, by rising id."""
        return self._version.scroll(with_vectors=True)


def copy_catalog(source: Catalog, target: Catalog, *, progress: Progress | None = None) -> list[str]:
    """Copy every version under its own name, compare each with the original, and publish the same ones.

    Versions that the target holds already are compared and not copied again, so what was interrupted goes
    on by calling this once more. Returns the names. Raises HandsimError when the source has no version, when
    the target has another version of the same name, and when a copy differs from its original.
    """
    versions = source.versions()
    if not versions:
        raise NotThereError(f"there is no index at {source.address}; `handsim index build` makes one")
    known = {info.name: info for info in target.versions()}
    for info in versions:
        with source.open(info.name) as version:
            if info.name not in known:
                target._write(VersionPoints(version), version.embedding, info.settings, progress, info.name)
            elif known[info.name].checksum != info.checksum:
                raise HandsimError(
                    f"{target.address} has a {info.name} of its own; copy to an empty place instead"
                )
        _compare(target, info.name, info.checksum)
    published = source.publications()
    # Those published earlier too, in their order, so that rolling back works there as here.
    for name in reversed(published):
        if name not in target.publications():
            target.publish(name)
    if published and target.current_name() != published[0]:
        target.publish(published[0])
    return [info.name for info in versions]


def _compare(target: Catalog, name: str, checksum: str) -> None:
    """Read a copy over, hand by hand; raises HandsimError unless it is what was copied."""
    held = Checksum()
    with target.open(name) as copy:
        for page in copy.scroll(with_vectors=True, with_payload=False):
            held.add(page)
    if held.digest != checksum:
        raise HandsimError(
            f"{name} at {target.address} differs from its original ({held.digest}, not {checksum}); "
            f"`handsim index drop {name} --index {target.address}` and copy again"
        )

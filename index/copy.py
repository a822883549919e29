"""Copying an index: every version of one catalog into another, whatever engine either has."""

from handsim.errors import HandsimError, NotThereError
from index.catalog import Catalog
from index.points import Checksum, Progress


def copy_catalog(source: Catalog, target: Catalog, *, progress: Progress | None = None) -> list[str]:
    """Copy every version under its own name, compare each with the original, and publish the same ones.

    Versions that the target has already are compared and not copied again: after an interruption, call this
    once more. Returns the names. Raises NotThereError when the source has no version, HandsimError when the
    target has another version of the same name, and when a copy differs from its original.
    """
    versions = source.versions()
    if not versions:
        raise NotThereError(f"there is no index at {source.address}; `handsim index build` makes one")
    known = {info.name: info for info in target.versions()}
    for info in versions:
        with source.open(info.name) as version:
            if info.name not in known:
                target.write_version(version, version.embedding, info.settings, progress, info.name)
            elif known[info.name].checksum != info.checksum:
                raise HandsimError(
                    f"{target.address} has a {info.name} of its own; copy to an empty place instead"
                )
        with target.open(info.name) as copied:
            digest = Checksum.of(copied.scroll(with_vectors=True, with_payload=False)).digest
        if digest != info.checksum:
            raise HandsimError(
                f"{info.name} at {target.address} differs from its original ({digest}, not {info.checksum}); "
                f"`handsim index drop {info.name} --index {target.address}` and copy again"
            )
    published = source.publications()
    # In the order of their publication, so that a rollback of the copy does what one of the original does.
    for name in reversed(published):
        if name not in target.publications():
            target.publish(name)
    if published and target.current_name() != published[0]:
        target.publish(published[0])
    return [info.name for info in versions]

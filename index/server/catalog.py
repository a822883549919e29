"""The index on a server: a collection for each version and an alias for the current one."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import Embedding
from handsim.errors import HandsimError, UnavailableError
from index.catalog import Catalog
from index.doctor import Finding, check
from index.evaluation import Verification
from index.info import IndexSettings, Remnant, VersionHealth, VersionInfo, version_number
from index.plan import BuildPlan
from index.points import HandColumns, PointSource, Progress
from index.server import health
from index.server.address import ServerAddress, read_ca, read_key
from index.server.build import VersionWriter
from index.server.capacity import Capacity
from index.server.client import Connection, OnWait, connect
from index.server.collection import (
    CollectionNames,
    VersionCollection,
    VersionRecord,
)
from index.server.failures import NotFoundError
from index.server.health import CollectionHealth
from index.server.leases import ExclusiveLease, LeaseRegistry, ReaderLease, Role
from index.server.version import ServerVersion


class ServerCatalog(Catalog):
    """The versions of one index on a server; see `index.catalog.Catalog` for what each method promises.

    Who builds, publishes or reads writes a lease into the index itself (see `index.server.leases`). All
    readers of a server see a publication at once; in a cluster, those of the other nodes a moment later.
    """

    def __init__(
        self, connection: Connection, name: str = "hands", *, folders: Iterable[str | Path] = ()
    ) -> None:
        """The index ``name``, which need not exist yet; `close` closes the connection.

        ``folders`` may hold the weights of image embeddings, which a server does not store. Raises
        HandsimError for another program's collections, or an index of a newer format.
        """
        self.address = f"{connection.address}/{name}"
        self._connection = connection
        self._names = CollectionNames(connection, name, self.address)
        self._registry = LeaseRegistry(connection, name, self.address)
        self._folders = folders
        self._opened_address: str | None = None
        self._registry.exists()

    @classmethod
    def at(
        cls,
        address: str,
        *,
        folders: Iterable[str | Path] = (),
        patience_s: float | None = None,
        on_wait: OnWait | None = None,
    ) -> "ServerCatalog":
        """The index at an address (see `index.server.address`), with key and authority of the environment.

        ``patience_s`` counts instead of the address's own. Raises UnavailableError when the server is away,
        HandsimError when it is too old or refuses the key.
        """
        parsed = ServerAddress.parse(address)
        if patience_s is not None:
            parsed = replace(parsed, patience_s=patience_s)
        connection = connect(parsed, read_key(), ca=read_ca(), on_wait=on_wait)
        try:
            catalog = cls(connection, parsed.name, folders=folders)
        except BaseException:
            connection.close()
            raise
        catalog._opened_address = str(parsed)
        return catalog

    def versions(self) -> list[VersionInfo]:
        current = self.current_name()
        return [
            record.info(name, is_current=name == current)
            for name, record in self._records().items()
            if record.is_readable
        ]

    def active_builder(self) -> str | None:
        builder = self._registry.holder("builder")
        is_active = builder is not None and builder.is_alive(self._connection.clock())
        return str(builder) if is_active else None

    def open(self, name: str) -> ServerVersion:
        self._readable_record(name)
        lease = ReaderLease(self._registry, name)
        try:
            # The record is read again: `remove` first marks the version, then looks for leases.
            record = self._readable_record(name)
            return ServerVersion(
                self._collection(name),
                record,
                record.info(name, is_current=name == self.current_name()),
                lease,
                address=self._opened_address,
                folders=self._folders,
            )
        except BaseException:
            lease.release()
            raise

    def current_name(self) -> str | None:
        return self._names.current()

    def publications(self) -> list[str]:
        current = self.current_name()
        if current is None:
            return []
        times = self._publication_times()
        # A later one than the current was rolled back, or its publisher was killed before it moved the alias.
        earlier = [name for name, time in times.items() if time < times.get(current, 0)]
        return [current, *sorted(earlier, key=lambda name: -times[name])]

    def publish(self, name: str) -> None:
        self._readable_record(name)
        with self._lease("publisher"):
            self._readable_record(name)
            times = self._publication_times()
            try:
                now = times.get(self.current_name() or "", 0)
            except HandsimError:
                now = max(times.values(), default=0)  # the alias points to no version; this call mends that
            for other, time in times.items():
                if time > now:
                    self._collection(other).update_metadata(published_at=None)
            self._collection(name).update_metadata(published_at=now + 1)
            self._names.point_alias(name)

    def set_publications(self, names: list[str]) -> None:
        with self._lease("publisher"):
            times = {name: len(names) - place for place, name in enumerate(names)}
            for name in names:
                self._readable_record(name)
            for name in {**self._publication_times(), **times}:
                self._collection(name).update_metadata(published_at=times.get(name))
            self._names.point_alias(names[0])

    def rollback(self) -> str:
        if self.current_name() is None:
            raise self._not_published_error()
        with self._lease("publisher"):
            earlier = self.publications()[1:]
            if not earlier:
                raise self._no_rollback_error()
            self._names.point_alias(earlier[0])
        return earlier[0]

    def version_names(self) -> list[str]:
        names = []
        for name in self._names.versions():
            try:
                record = self._collection(name).read_record()
            except NotFoundError:
                continue  # removed since they were listed
            except UnavailableError:
                raise
            except HandsimError:
                names.append(name)  # damaged
            else:
                names += [name] if record.is_readable else []
        return names

    def read_health(self, name: str) -> VersionHealth | None:
        try:
            return CollectionHealth.read(self._collection(name)).to_version_health()
        except (NotFoundError, UnavailableError):
            return None

    def examine_version(self, name: str) -> Iterator[Finding]:
        record = self._readable_record(name)
        collection = VersionCollection(self._connection.without_retries(), self._names.collection(name))
        is_building = False
        with suppress(UnavailableError):  # its own finding
            builder = self._registry.with_patience(0.0).holder("builder")
            is_building = builder is not None and builder.is_alive(self._connection.clock())
        yield from health.examine_version(name, collection, record, self._folders, is_building=is_building)

    def examine_engine(self) -> Iterator[Finding]:
        yield from check("the nodes", lambda: health.examine_nodes(self._connection))
        versions = [self._collection(name) for name in self._names.versions()]
        for collection in [*versions, self._registry.collection]:
            subject = f"the shards of {collection.name}"
            yield from check(subject, partial(health.examine_replicas, collection))
        if self._registry.exists():
            yield from health.examine_leases(self._registry)
        elif versions:
            text = f"{self._registry.collection.name} is not there, where readers and builders sign in"
            yield Finding("wrong", text, "`handsim index publish VERSION` makes it again")

    def remnants(self) -> list[Remnant]:
        remnants = []
        for name, record in self._records().items():
            if not record.is_readable:
                with suppress(NotFoundError):  # removed since they were listed
                    points, is_removal = self._collection(name).count(), record.state == "removing"
                    remnants.append(Remnant(name, is_removal, points, record.points))
        return remnants

    def plan(self, points: PointSource, embedding: Embedding, settings: IndexSettings) -> BuildPlan:
        capacity = Capacity.read(self._connection)
        plan = BuildPlan(len(points), embedding.dimension, settings, capacity.nodes)
        capacity.check(plan, self._connection.address)
        unfinished = self._find_unfinished(VersionRecord.draft(embedding, settings, points))
        if unfinished is None:
            return plan
        return replace(plan, unfinished=unfinished, present=self._collection(unfinished).count())

    def remove(self, name: str) -> bool:
        if any(remnant.name == name for remnant in self.remnants()):
            return self._remove_remnant(name)
        record = self._readable_record(name)
        with self._lease("publisher"):
            if name == self.current_name():
                raise self._current_version_error(name)
            self._collection(name).update_metadata(state="removing")
            if name in self._versions_in_use():
                self._collection(name).update_metadata(state=record.state)
                return False
            # A version's number is recorded when it is complete; its builder may have ended just before.
            self._registry.record_number(version_number(name))
            self._collection(name).delete()
        return True

    def _remove_remnant(self, name: str) -> bool:
        """Remove what is not complete, unless a builder writes it, or its last readers have not ended yet."""
        with self._lease("builder"):
            if name in self._versions_in_use():
                return False
            self._collection(name).delete()
        return True

    def sweep(self) -> None:
        if not self._registry.exists() or self.active_builder():
            return
        with self._lease("builder") as lease:
            in_use = self._versions_in_use()
            for name, record in self._records().items():
                if record.state == "growing":
                    self._repair(name, lease)
                elif not record.is_readable and name not in in_use:
                    self._collection(name).delete()
            now = self._connection.clock()
            readers = self._registry.readers().items()
            self._registry.remove_readers([point for point, reader in readers if not reader.is_alive(now)])

    def drop(self) -> None:
        if not self._registry.exists() and not self._names.versions():
            return
        with self._lease("builder"), self._lease("publisher"):
            for name in sorted(self._versions_in_use()):
                raise self._in_use_error(name)
            self._names.remove_alias()
            for name in self._names.versions():
                self._collection(name).delete()
        self._registry.drop()

    def record_verification(self, name: str, verification: Verification) -> None:
        self._collection(name).update_metadata(
            recall_at_1=verification.recall_at_1, verification=json.dumps(asdict(verification))
        )

    def read_verification(self, name: str) -> Verification | None:
        record = self._readable_record(name).verification
        return None if record is None else Verification.parse(json.loads(record))

    def add(self, hands: HandColumns, **options: Any) -> VersionInfo:
        """As `Catalog.add`; an addition in place that was killed is repaired first."""
        current = self.current_name()
        if current is not None and self._readable_record(current).state == "growing":
            with self._lease("builder") as lease:
                self._repair(current, lease)
        return super().add(hands, **options)

    def write_version(
        self,
        points: PointSource,
        embedding: Embedding,
        settings: IndexSettings,
        progress: Progress | None = None,
        name: str | None = None,
    ) -> str:
        self._names.check_free()
        with self._lease("builder") as lease:
            draft = VersionRecord.draft(embedding, settings, points)
            name = self._prepare_collection(draft, name)
            VersionWriter(self._collection(name), draft, lease).write(points, progress)
            self._registry.record_number(version_number(name))
        return name

    def close(self) -> None:
        """Close the connection; open versions answer no more queries."""
        self._connection.close()

    def _read_info(self, name: str, *, is_current: bool) -> VersionInfo:
        return self._readable_record(name).info(name, is_current=is_current)

    def _extend(
        self,
        base: str,
        points: PointSource,
        replaced: NDArray[np.uint64],
        embedding: Embedding,
        progress: Progress | None,
        in_place: bool,
        origin: str,
    ) -> str:
        if not in_place:
            return self._rebuild(base, points, replaced, embedding, progress)
        record = self._readable_record(base)
        with self._lease("builder") as lease, self.open(base) as version:
            VersionWriter(self._collection(base), record, lease).grow(points, replaced, version, progress)
        return base

    def _prepare_collection(self, draft: VersionRecord, name: str | None) -> str:
        """The version to write: an unfinished one of the same draft, else a new one; removes the others."""
        unfinished = self._find_unfinished(draft, name)
        for other, record in self._records().items():
            if record.state == "building":
                if other != unfinished:
                    self._collection(other).delete()
            elif other == name:
                raise HandsimError(f"{self.address} has a version {name} already; remove it first")
        if unfinished is not None:
            return unfinished
        numbers = map(version_number, self._names.versions())
        name = name or f"v{max(self._registry.newest_number(), *numbers, 0) + 1:04d}"
        self._collection(name).create(draft)
        return name

    def _find_unfinished(self, draft: VersionRecord, name: str | None = None) -> str | None:
        """The version that was begun of a draft, of that name where one is given; None without one."""
        records = self._records().items()
        return next((other for other, record in records if name in (None, other) and record == draft), None)

    def _repair(self, name: str, lease: ExclusiveLease) -> None:
        with self.open(name) as version:
            VersionWriter(self._collection(name), self._readable_record(name), lease).repair(version)

    def _lease(self, role: Role) -> ExclusiveLease:
        self._registry.create()  # a snapshot of the versions alone may have been restored, without it
        return ExclusiveLease(self._registry, role)

    def _collection(self, name: str) -> VersionCollection:
        return VersionCollection(self._connection, self._names.collection(name))

    def _records(self) -> dict[str, VersionRecord]:
        """The records of all versions, the unfinished too, oldest first."""
        records = {}
        for name in self._names.versions():
            with suppress(NotFoundError):  # removed since they were listed
                records[name] = self._collection(name).read_record()
        return records

    def _readable_record(self, name: str) -> VersionRecord:
        """The record of a version that readers may open; raises NotThereError when there is none."""
        with suppress(NotFoundError):
            record = self._collection(name).read_record()
            if record.is_readable:
                return record
        known = [other for other, record in self._records().items() if record.is_readable]
        raise self._missing_error(name, known)

    def _publication_times(self) -> dict[str, int]:
        records = self._records().items()
        return {
            name: record.published_at
            for name, record in records
            if record.is_readable and record.published_at
        }

    def _versions_in_use(self) -> set[str]:
        """The versions that somebody reads."""
        now = self._connection.clock()
        return {reader.version for reader in self._registry.readers().values() if reader.is_alive(now)}

"""The index on a server: a collection for each version and an alias for the current one."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from handsim.embedding import Embedding
from handsim.errors import HandsimError, NotThereError
from index.catalog import Catalog
from index.evaluation import Verification
from index.info import IndexSettings, VersionInfo
from index.points import HandColumns, PointSource, Progress
from index.server.build import Both, grow_version, mend_growth, write_version
from index.server.client import AbsentError, Connection, PresentError, ServerAddress, connect, read_key
from index.server.collection import Names, VersionCollection, VersionRecord, number, verification_metadata
from index.server.leases import Claim, Lease, Register, Role
from index.server.version import ServerVersion


class ServerCatalog(Catalog):
    """The versions of one index on a server; see `index.catalog.Catalog` for what each call promises.

    Whoever builds, publishes or reads says so in the index itself, every half a minute: a builder that
    nothing was heard of for five minutes, or a reader for two, counts as gone; on one's own host at once.
    A version is seen by all readers of a server; of a cluster, by those of every node a moment later.
    """

    def __init__(
        self, connection: Connection, name: str = "hands", *, folders: Iterable[str | Path] = ()
    ) -> None:
        """The index ``name``, which need not be there yet, by a connection that is closed with it.

        ``folders`` may hold the weights of image embeddings, which a server does not keep. Raises
        HandsimError for another program's collections, or an index of a newer format.
        """
        self.address = f"{connection.address}/{name}"
        self._connection = connection
        self._names = Names(name, self.address)
        self._register = Register(connection, name, self.address)
        self._folders = folders
        self._opened_by: str | None = None
        self._register.exists()

    @classmethod
    def at(cls, address: str, *, folders: Iterable[str | Path] = (), patient: bool = True) -> "ServerCatalog":
        """The index at ``http(s)://host[:6333][/NAME][?grpc_port=6334]``, with the key of the environment.

        Raises UnavailableError when the server is away, HandsimError when it is too old or refuses the key.
        """
        parsed = ServerAddress.parse(address)
        connection = connect(parsed, read_key(), patient=patient)
        try:
            catalog = cls(connection, parsed.name, folders=folders)
        except BaseException:
            connection.close()
            raise
        catalog._opened_by = address
        return catalog

    def versions(self) -> list[VersionInfo]:
        """All complete versions, oldest first."""
        current = self.current_name()
        return [
            record.info(name, is_current=name == current)
            for name, record in self._records().items()
            if record.is_readable
        ]

    def info(self, name: str) -> VersionInfo:
        """What is known of a version; raises NotThereError when there is none of that name."""
        return self._readable(name).info(name, is_current=name == self.current_name())

    def under_way(self) -> str | None:
        """Who is writing a version just now, or None."""
        builder = self._register.at_work("builder")
        alive = builder is not None and builder.is_alive(self._connection.clock())
        return str(builder) if alive else None

    def open(self, name: str) -> ServerVersion:
        """Open a version by name; raises NotThereError, or HandsimError when it is damaged."""
        self._readable(name)
        lease = Lease(self._connection, self._register, name)
        try:
            # Looked at once more: who removes it marks it first and looks for leases then.
            return ServerVersion(
                self._connection,
                self._names.collection(name),
                name,
                self._readable(name),
                lease,
                is_current=name == self.current_name(),
                address=self._opened_by,
                folders=self._folders,
            )
        except BaseException:
            lease.release()
            raise

    def current_name(self) -> str | None:
        """The name of the current version, or None when nothing was published yet."""
        return self._names.current(self._connection)

    def publications(self) -> list[str]:
        """Names of the current version and of those published before it, latest first."""
        current = self.current_name()
        if current is None:
            return []
        times = self._publication_times()
        # One later than the current's was taken back, or its publisher did not get as far as the alias.
        earlier = [name for name, time in times.items() if time < times.get(current, 0)]
        return [current, *sorted(earlier, key=lambda name: -times[name])]

    def publish(self, name: str) -> None:
        """Make a version the current one, at once and for all readers from their next query on."""
        self._readable(name)
        with self._claim("publisher"):
            self._readable(name)
            times = self._publication_times()
            try:
                now = times.get(self.current_name() or "", 0)
            except HandsimError:
                now = max(times.values(), default=0)  # the alias points astray; this mends it
            for other, time in times.items():
                if time > now:
                    self._collection(other).note(published_at=None)
            self._collection(name).note(published_at=now + 1)
            self._names.point_alias(self._connection, name)

    def rollback(self) -> str:
        """Make the version current that was published before the current one; returns its name."""
        if self.current_name() is None:
            raise self._nothing_published()
        with self._claim("publisher"):
            earlier = self.publications()[1:]
            if not earlier:
                raise self._nothing_to_roll_back_to()
            self._names.point_alias(self._connection, earlier[0])
        return earlier[0]

    def remove(self, name: str) -> bool:
        """Remove a version for good, unless a reader has it open (returns False)."""
        record = self._readable(name)
        with self._claim("publisher"):
            if name == self.current_name():
                raise self._is_current(name)
            self._collection(name).note(state="removing")
            if name in self._open_versions():
                self._collection(name).note(state=record.state)
                return False
            self._collection(name).delete()
        return True

    def sweep(self) -> None:
        """Remove what builders and readers that were killed left behind; waits for no builder at work."""
        if not self._register.exists() or self.under_way():
            return
        with self._claim("builder") as claim:
            is_open = self._open_versions()
            for name, record in self._records().items():
                if record.state == "growing":
                    self._mend(name, claim)
                elif not record.is_readable and name not in is_open:
                    self._collection(name).delete()
            now = self._connection.clock()
            readers = self._register.readers().items()
            self._register.remove_readers([point for point, one in readers if not one.is_alive(now)])

    def drop(self) -> None:
        """Remove the whole index; raises HandsimError while a reader has a version open."""
        if not self._register.exists():
            return
        with self._claim("builder"), self._claim("publisher"):
            for name in sorted(self._open_versions()):
                raise self._in_use(name)
            self._names.remove_alias(self._connection)
            for name in self._names.collections(self._connection):
                self._collection(name).delete()
        self._register.drop()

    def record_verification(self, name: str, verification: Verification) -> None:
        """Keep what a verification found, for `list`."""
        self._collection(name).note(**verification_metadata(verification))

    def close(self) -> None:
        """Hang up; versions that are open can be asked no more."""
        self._connection.close()

    def add(
        self,
        hands: HandColumns,
        *,
        in_place: bool = False,
        publish: bool = True,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """As `Catalog.add`; what an addition in place that was killed left unfinished is settled first."""
        current = self.current_name()
        if current is not None and self._readable(current).state == "growing":
            with self._claim("builder") as claim:
                self._mend(current, claim)
        return super().add(hands, in_place=in_place, publish=publish, progress=progress)

    def _write(
        self,
        points: PointSource,
        embedding: Embedding,
        settings: IndexSettings,
        progress: Progress | None,
        name: str | None = None,
    ) -> str:
        self._names.check_free(self._connection)
        self._register.create(settings.replicas)
        with self._claim("builder") as claim:
            draft = VersionRecord.draft(embedding, settings, len(points))
            name = self._prepare(draft, name)
            write_version(self._collection(name), draft, points, claim, progress)
            self._register.note_newest(number(name))
        return name

    def _extend(
        self, base: str, points: PointSource, embedding: Embedding, progress: Progress | None, in_place: bool
    ) -> str:
        record = self._readable(base)
        if in_place:
            with self._claim("builder") as claim:
                grow_version(self._collection(base), record, points, claim, progress)
            return base
        with self.open(base) as version:
            return self._write(Both(version, points), embedding, record.settings, progress)

    def _prepare(self, draft: VersionRecord, name: str | None) -> str:
        """The version to fill: a half-built one of the same, else a new one; other half-built ones go."""
        begun: str | None = None
        for other, record in self._records().items():
            if record.state == "building":
                if begun is None and name in (None, other) and record == draft:
                    begun = other
                else:
                    self._collection(other).delete()
            elif other == name:
                raise HandsimError(f"{self.address} has a version {name} already; remove it first")
        if begun is not None:
            return begun
        newest = [self._register.newest(), *map(number, self._names.collections(self._connection))]
        name = name or f"v{max(newest) + 1:04d}"
        # The one builder makes it: if it is there, an answer was lost and the question asked again.
        with suppress(PresentError):
            self._collection(name).create(draft)
        return name

    def _mend(self, name: str, claim: Claim) -> None:
        with self.open(name) as version:
            mend_growth(self._collection(name), self._readable(name), version, claim)

    def _claim(self, role: Role) -> Claim:
        return Claim(self._connection, self._register, role, self.address)

    def _collection(self, name: str) -> VersionCollection:
        return VersionCollection(self._connection, self._names.collection(name))

    def _records(self) -> dict[str, VersionRecord]:
        """What is written of all versions and drafts, oldest first."""
        records = {}
        for name in self._names.collections(self._connection):
            with suppress(AbsentError):  # removed since they were listed
                records[name] = self._collection(name).record()
        return records

    def _readable(self, name: str) -> VersionRecord:
        """The record of a version that readers may have."""
        with suppress(AbsentError):
            record = self._collection(name).record()
            if record.is_readable:
                return record
        known = ", ".join(other for other, one in self._records().items() if one.is_readable) or "none"
        raise NotThereError(
            f"the index {self.address} has no version {name!r} (it has: {known}); "
            "`handsim index build` makes one"
        )

    def _publication_times(self) -> dict[str, int]:
        records = self._records().items()
        return {name: one.published_at for name, one in records if one.is_readable and one.published_at}

    def _open_versions(self) -> set[str]:
        """The versions that somebody reads."""
        now = self._connection.clock()
        return {one.version for one in self._register.readers().values() if one.is_alive(now)}

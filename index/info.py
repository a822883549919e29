"""How an index version is built and searched, and what is known of it without opening it."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from handsim.english import pluralize
from handsim.errors import HandsimError

if TYPE_CHECKING:
    from index.doctor import Severity


@dataclass(frozen=True)
class IndexSettings:
    """Settings of the HNSW graph. The defaults were measured: see `benchmarks/index.py`.

    Raises HandsimError for a value out of its bounds.
    """

    m: int = 16
    """Edges per point. More find more and cost memory."""
    ef_construct: int = 100
    """Candidates examined when a point is added to the graph. More build a better graph, more slowly."""
    ef: int = 64
    """Candidates examined in a search, unless the search sets its own number."""
    index_above_kb: int = 256
    """Size of the vectors, in KB, above which the graph is built; fewer are compared one by one."""
    full_scan_below_kb: int = 256
    """Size of the vectors that pass a filter, in KB, below which they are compared one by one."""
    threads: int = 0
    """Threads that build the graph; 0 takes every core."""
    shards: int = 1
    """On a server: parts that the hands are spread over; as many nodes can build and search them."""
    replicas: int = 1
    """On a server: nodes that store each part, so that one may fail; writes wait for half of them."""
    on_disk: bool = False
    """On a server: vectors and graph stay on disk and are read as needed, for more hands than memory holds.
    An embedded index has one part on one machine and its files always mapped: it ignores these three."""

    def __post_init__(self) -> None:
        bounds = {
            "m": (2, 128),
            "ef_construct": (4, 4096),
            "ef": (1, 4096),
            "full_scan_below_kb": (10, 2**31),  # a server takes no less
            "threads": (0, 1024),
            "shards": (1, 1024),
            "replicas": (1, 64),
            "on_disk": (False, True),
        }
        for field in fields(self):
            low, high = bounds.get(field.name, (1, 2**31))
            value = getattr(self, field.name)
            if not low <= value <= high:
                raise HandsimError(f"{field.name} is {value}; it lies between {low} and {high}")


DEFAULT_SETTINGS: Final = IndexSettings()


@dataclass(frozen=True, kw_only=True)
class BaseRecord:
    """What both engines write down of a version."""

    points: int
    """How many hands it holds."""
    dimension: int
    """Length of a vector."""
    embedding_kind: str
    """``pose``: made from keypoints; ``image``: made from crops; ``blend``: from both."""
    embedding_fingerprint: str
    """16 hex digits; two versions with the same one have comparable distances."""
    built_at: str
    """ISO 8601, UTC."""
    build_seconds: float
    """How long the build took."""
    checksum: str
    """Hash over ids and vectors, see `index.points.Checksum`; equal ones hold the same hands."""
    settings: IndexSettings
    """How it was built and is searched."""

    def to_info(
        self,
        name: str,
        *,
        bytes_on_disk: int | None,
        recall_at_1: float | None,
        is_current: bool,
        origin: str,
    ) -> "VersionInfo":
        """With what is not part of the record."""
        common: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(BaseRecord)}
        return VersionInfo(
            name=name,
            bytes_on_disk=bytes_on_disk,
            recall_at_1=recall_at_1,
            is_current=is_current,
            origin=origin,
            **common,
        )


@dataclass(frozen=True, kw_only=True)
class VersionInfo(BaseRecord):
    """What is known of one version."""

    name: str
    """``v0001``, ``v0002``, ... in the order they were built."""
    bytes_on_disk: int | None
    """Its size; None on a server, which does not report it."""
    recall_at_1: float | None
    """At the last verification; None when there was none."""
    is_current: bool
    """Whether readers that name no version get this one."""
    origin: str = ""
    """What it was built of, see `index.points.PointSource`; empty where that was not written down."""

    @property
    def state(self) -> tuple[str, str, str]:
        """Differs between two versions, and before and after hands are added to one in place."""
        return self.name, self.checksum, self.built_at


@dataclass(frozen=True)
class Remnant:
    """What an ended process left of a version: one that it did not finish, or did not remove entirely."""

    name: str
    """The version's, or on disk the directory's."""
    is_removal: bool
    """Whether it was being removed; else it was being built."""
    points: int | None
    """Hands written so far; None where that is not known."""
    total: int | None
    """Hands that it was to hold."""

    def __str__(self) -> str:
        if self.is_removal:
            return f"{self.name} (removed in part)"
        if self.points is None or self.total is None:
            return f"{self.name} (unfinished)"
        return f"{self.name} (unfinished: {self.points:,} of {self.total:,} hands)"


_SHARDS_IN_WORDS: Final = 6
"""Of more, only those are named that not all nodes serve."""


@dataclass(frozen=True)
class VersionHealth:
    """How a server holds a version, as it tells."""

    status: str
    """``green``: all is done; ``yellow``: it links hands; ``grey``: that waits; ``red``: something failed."""
    optimizer_error: str
    """Why it does not link hands any more; empty where it can."""
    segments: int
    """Of the node that answered."""
    bytes: int | None
    """Of vectors and payloads, once; None where not all nodes with a part of it tell."""
    replicas: dict[int, dict[str, str]]
    """Shard -> node -> state, as ``active`` or ``dead``; empty where it does not tell."""
    transfers: tuple[str, ...]
    """Shards on their way to another node."""
    severity: "Severity | None" = None
    """``wrong``: something of this has to be mended; ``hint``: the server is at work on it."""

    def __str__(self) -> str:
        words = [f"{self.status}, {pluralize(self.segments, 'segment')}"]
        if self.optimizer_error:
            words.append(f"optimiser: {self.optimizer_error}")
        shards = sorted(self.replicas.items())
        if len(shards) > _SHARDS_IN_WORDS:
            words.append(f"{len(shards)} shards")
            shards = [entry for entry in shards if set(entry[1].values()) != {"active"}]
        for shard, nodes in shards:
            words.append(f"shard {shard} on node {', '.join(map(_describe_replica, nodes, nodes.values()))}")
        return "; ".join([*words, *self.transfers])


def _describe_replica(node: str, state: str) -> str:
    return node if state == "active" else f"{node} ({state})"


def version_number(name: str) -> int:
    """7 of ``v0007``."""
    return int(name[1:])


def check_format(version: object, newest: int, origin: object) -> None:
    """Raise HandsimError unless this program reads the format of that version."""
    if not isinstance(version, int) or version > newest:
        raise HandsimError(
            f"{origin} has format {version}, this handsim reads up to {newest}; upgrade handsim"
        )

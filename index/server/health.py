"""How a server holds an index, as it tells: nodes, shards and replicas, who signed in; for `index.doctor`.

Each question is asked once. Those about nodes go over the REST port; a key for some collections alone may not
ask them, and `index.doctor.check` then says so.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from qdrant_client import models

from handsim.embedding import embedding_from_json
from handsim.english import pluralize
from handsim.errors import HandsimError, one_line
from index.doctor import Finding, Severity, check, find_missing_weights
from index.info import VersionHealth
from index.server.client import Connection
from index.server.collection import VersionCollection, VersionRecord
from index.server.failures import NotFoundError
from index.server.leases import HEARTBEAT_S, LeaseHolder, LeaseRegistry

T = TypeVar("T")

_LINKING_IS_LONG_S: Final = 3600.0
"""After a build; two million hands are linked in minutes."""
_SIZES: Final = 3
"""Level of detail from which on telemetry tells the sizes of shards."""
_FAILING: Final = {models.CollectionStatus.RED, models.CollectionStatus.GREY}
_SERVING: Final = {models.ReplicaState.ACTIVE, models.ReplicaState.ACTIVEREAD}
_ARRIVING: Final = {
    models.ReplicaState.PARTIAL,
    models.ReplicaState.INITIALIZING,
    models.ReplicaState.PARTIALSNAPSHOT,
    models.ReplicaState.RECOVERY,
    models.ReplicaState.RESHARDING,
    models.ReplicaState.RESHARDINGSCALEDOWN,
}


@dataclass(frozen=True)
class CollectionHealth:
    """What a server tells of one collection."""

    info: models.CollectionInfo
    shards: models.CollectionClusterInfo | None
    """None where it does not tell."""
    bytes: int | None
    """See `VersionHealth.bytes`."""

    @classmethod
    def read(cls, collection: VersionCollection) -> "CollectionHealth":
        """Ask for all of it; raises NotFoundError when there is no such collection."""
        connection, name = collection.connection.without_retries(), collection.name
        shards = _ask_or_none(lambda: connection.read(lambda client: client.collection_cluster_info(name)))
        size = _ask_or_none(lambda: _read_bytes(connection, name, shards.shard_count if shards else 1))
        return cls(VersionCollection(connection, name).read_info(), shards, size)

    def to_version_health(self) -> VersionHealth:
        """In words."""
        transfers = self.shards.shard_transfers if self.shards else []
        replicas = _by_shard(self.shards) if self.shards else {}
        states = {state for peers in replicas.values() for state in peers.values()}
        optimizer_error = _read_optimizer_error(self.info)
        severity: Severity | None = None
        if optimizer_error or self.info.status in _FAILING or states - _SERVING - _ARRIVING:
            severity = "wrong"
        elif self.info.status == models.CollectionStatus.YELLOW or transfers or states - _SERVING:
            severity = "hint"
        return VersionHealth(
            status=self.info.status.value,
            optimizer_error=optimizer_error,
            segments=self.info.segments_count,
            bytes=self.bytes,
            replicas={
                shard: {str(peer): state.value.lower() for peer, state in peers.items()}
                for shard, peers in replicas.items()
            },
            transfers=tuple(map(_describe_transfer, transfers)),
            severity=severity,
        )


def examine_version(
    name: str,
    collection: VersionCollection,
    record: VersionRecord,
    folders: Iterable[str | Path],
    *,
    is_building: bool,
) -> Iterator[Finding]:
    """What is wrong with a version; ``folders`` may hold the weights of its embedding."""
    yield from _examine_status(name, collection.name, collection.read_info(), record, is_building=is_building)
    if record.state == "growing" and not is_building:
        remedy = "`handsim index add --in-place` or `handsim index prune` repairs it"
        yield Finding("wrong", f"hands were being added to {name} in place by a process that ended", remedy)
    yield from check(f"how many hands {name} holds", lambda: _examine_count(name, collection, record))
    try:
        embedding = embedding_from_json(json.loads(record.embedding), folders)
    except ValueError as error:  # HandsimError is one
        yield Finding("wrong", f"the embedding of {name} cannot be read ({error})", "`handsim index build`")
        return
    yield from find_missing_weights(embedding, name)


def _examine_count(name: str, collection: VersionCollection, record: VersionRecord) -> Iterator[Finding]:
    if record.state == "complete" and (points := collection.count()) != record.points:
        yield Finding(
            "wrong",
            f"{name} holds {points:,} of {record.points:,} hands",
            "if all nodes run, `handsim index build` makes another version",
        )


def _examine_status(
    name: str, collection: str, info: models.CollectionInfo, record: VersionRecord, *, is_building: bool
) -> Iterator[Finding]:
    if error := _read_optimizer_error(info):
        yield Finding(
            "wrong",
            f"the server's optimiser stopped at {name} ({error})",
            "mend what it names, often the disk or the memory of a node, and start that node again",
        )
    if info.status == models.CollectionStatus.RED:
        yield Finding(
            "wrong", f"{name} is red: the server failed to work on it", "look into the logs of its nodes"
        )
    if info.status == models.CollectionStatus.GREY:
        yield Finding(
            "wrong",
            f"{name} is grey: the server was started again and does not link its hands before something "
            f"is written",
            f'`PATCH /collections/{collection}` with {{"optimizers_config": {{}}}} has it go on; searches '
            f"are slower until then",
        )
    if info.status == models.CollectionStatus.YELLOW and not is_building:
        seconds = _seconds_since(record.built_at)
        is_long = seconds is not None and seconds > _LINKING_IS_LONG_S
        yield Finding(
            "wrong" if is_long else "hint",
            f"{name} is yellow: the server links its hands"
            + (f", {seconds / 3600:,.0f} h after it was built" if is_long and seconds else ""),
            "see the load and the logs of its nodes" if is_long else "searches are slower until it is done",
        )
    for warning in info.warnings or []:
        yield Finding("hint", f"the server warns of {name}: {one_line(warning.message)}")


def examine_replicas(collection: VersionCollection) -> Iterator[Finding]:
    """Replicas of a collection that are lost, fewer than it was created with, or on their way."""
    connection, name = collection.connection.without_retries(), collection.name
    try:
        shards = connection.read(lambda client: client.collection_cluster_info(name))
    except NotFoundError:
        return
    replicas = _by_shard(shards)
    unserved = [str(shard) for shard, peers in replicas.items() if not set(peers.values()) & _SERVING]
    if unserved:
        yield Finding(
            "wrong",
            f"{name} has no active replica of shard {', '.join(unserved)}: nothing can be searched",
            "start its nodes; if their disks are lost, `handsim index restore` or `handsim index build`",
        )
    by_state: dict[tuple[int, models.ReplicaState], list[str]] = defaultdict(list)
    for shard, peers in replicas.items():
        for peer, state in peers.items():
            by_state[peer, state].append(str(shard))
    for (peer, state), of_shards in by_state.items():
        held = f"{name}: shard {', '.join(of_shards)} is {state.value.lower()} on node {peer}"
        if state in _ARRIVING:
            yield Finding("hint", held, "it is being filled, or waits for a node to be so")
        elif state not in _SERVING:
            remedy = "start that node, it then catches up; one that is lost for good has to be replaced"
            yield Finding("wrong", held, remedy)
    for transfer in shards.shard_transfers:
        yield Finding("hint", f"{name}: {_describe_transfer(transfer)}")
    wanted = _ask_or_none(lambda: collection.read_info().config.params.replication_factor) or 1
    few = [str(shard) for shard, peers in replicas.items() if len(peers) < wanted]
    if few:
        yield Finding(
            "wrong",
            f"{name} was made with {pluralize(wanted, 'replica')}, and shard {', '.join(few)} has fewer",
            "add nodes, then `handsim index build`; or replicate the shards with Qdrant's cluster API",
        )


def examine_nodes(connection: Connection) -> Iterator[Finding]:
    """Nodes that are away, of different versions, or cannot agree."""
    versions: dict[str, str] = {}
    for url, answer in connection.ask_nodes(lambda client: client.info().version).items():
        if isinstance(answer, HandsimError):
            yield Finding("wrong", f"a node of the address is away: {answer}")
        else:
            versions[url] = answer
    if len(set(versions.values())) > 1:
        differing = ", ".join(f"{url} {version}" for url, version in versions.items())
        yield Finding(
            "wrong", f"the nodes run different versions of Qdrant ({differing})", "upgrade all of them to one"
        )
    yield from check("the cluster", lambda: _examine_cluster(connection))


def _examine_cluster(connection: Connection) -> Iterator[Finding]:
    status = connection.without_retries().read(lambda client: client.cluster_status())
    if not isinstance(status, models.ClusterStatusOneOf1):
        return
    if status.raft_info.leader is None:
        yield Finding(
            "wrong",
            "the cluster has no leader: nothing can be built or published",
            "start nodes until more than half of them run",
        )
    if isinstance(status.consensus_thread_status, models.ConsensusThreadStatusOneOf2):
        error = status.consensus_thread_status.err
        yield Finding(
            "wrong",
            f"node {status.peer_id} has left the cluster's agreement ({one_line(error)})",
            "start it again",
        )
    peers = {peer.uri: number for number, peer in status.peers.items()}
    for uri, failures in status.message_send_failures.items():
        reason = f" ({one_line(failures.latest_error)})" if failures.latest_error else ""
        yield Finding(
            "wrong",
            f"node {peers.get(uri, '?')} at {uri} does not hear from node {status.peer_id}{reason}",
            "start it, or see to the network between them",
        )


def examine_leases(registry: LeaseRegistry) -> Iterator[Finding]:
    """Leases of processes that ended, and of hosts whose clocks are ahead of this one's."""
    registry = registry.with_patience(0.0)
    now = registry.connection.clock()
    exclusive = [registry.holder("builder"), registry.holder("publisher")]
    holders = [*(holder for holder in exclusive if holder is not None), *registry.readers().values()]
    ahead = [holder for holder in holders if holder.seen_at - now > HEARTBEAT_S]
    for holder in ahead:
        yield Finding(
            "wrong",
            f"{_describe_holder(holder)} signed in {holder.seen_at - now:,.0f} s in the future by this clock",
            "set the clocks of both hosts by NTP: leases expire after two to five minutes",
        )
    for holder in holders:
        if not holder.is_alive(now):
            yield Finding(
                "hint",
                f"{_describe_holder(holder)} has not signed in for {now - holder.seen_at:,.0f} s: it has "
                f"ended, or its clock is behind",
                "`handsim index prune` removes what ended readers left; a builder's place is free"
                if holder.role == "reader"
                else "its place is free, the next one takes it",
            )


def _read_optimizer_error(info: models.CollectionInfo) -> str:
    """Why the server does not link a collection's hands any more; empty where it can."""
    return one_line(getattr(info.optimizer_status, "error", ""))


def _by_shard(shards: models.CollectionClusterInfo) -> dict[int, dict[int, models.ReplicaState]]:
    """Shard -> peer -> state."""
    states: dict[int, dict[int, models.ReplicaState]] = defaultdict(dict)
    for local in shards.local_shards:
        states[local.shard_id][shards.peer_id] = local.state
    for remote in shards.remote_shards:
        states[remote.shard_id][remote.peer_id] = remote.state
    return {shard: dict(sorted(states[shard].items())) for shard in sorted(states)}


def _describe_holder(holder: LeaseHolder) -> str:
    what = f"the reader of {holder.version}" if holder.role == "reader" else f"the {holder.role}"
    return f"{what}, {holder},"


def _describe_transfer(transfer: models.ShardTransferInfo) -> str:
    return f"shard {transfer.shard_id} is on its way from node {transfer.from_} to node {transfer.to}"


def _read_bytes(connection: Connection, name: str, shard_count: int) -> int | None:
    """Of the vectors and payloads of a collection, once; None unless the nodes that answer have all of it."""
    sizes: dict[int, int] = {}
    for telemetry in connection.ask_nodes(
        lambda client: client.http.service_api.telemetry(details_level=_SIZES).result
    ).values():
        if isinstance(telemetry, HandsimError) or telemetry is None:
            continue
        for collection in telemetry.collections.collections or []:
            if not isinstance(collection, models.CollectionTelemetry) or collection.id != name:
                continue
            for shard in collection.shards or []:
                if shard.local is not None and shard.local.vectors_size_bytes is not None:
                    sizes[shard.id] = shard.local.vectors_size_bytes + (shard.local.payloads_size_bytes or 0)
    return sum(sizes.values()) if len(sizes) == shard_count else None


def _ask_or_none(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except HandsimError:
        return None


def _seconds_since(moment: str) -> float | None:
    """Since an ISO 8601 time; None where it is none."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return None

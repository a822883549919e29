"""Three small servers that hold one replicated store, each a process of its own that may be killed.

A node has three ports: for REST, for gRPC, and for the other nodes. Every write goes through the senior node,
which appends it to the log of each other one, in the order in which they came; the next in that order takes
its place when it dies, and no log is longer than its own. Who comes back replays the log and is the youngest.

What a cluster answers while a node is away follows Qdrant's source. Shard `s` of a collection lies on as many
nodes as it has replicas, from node `s` on, and each write is refused or not shard by shard:

- weak ordering needs the collection's write consistency factor of living replicas, and is applied anyway;
- medium ordering needs the highest living replica, and is refused for `SETTLES_S` after a loss;
- strong ordering needs the highest replica of all, and is refused as long as that is away;
- changes of collections and aliases are refused for `SETTLES_S`, by turns before and after they are made.
"""

import base64
import json
import multiprocessing
import os
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, Final

import grpc
from qdrant_client import grpc as q
from qdrant_client import models

from tests.index.server.refusals import (
    NO_LEADER,
    NOT_COMMITTED,
    Refusal,
    some_shards,
    unreachable,
    via_leader,
)
from tests.index.server.small_server import (
    CONSENSUS,
    METHODS,
    WRITES,
    SmallServer,
    free_ports,
)

NODES: Final = 3
SETTLES_S: Final = 0.4
"""How long after a loss was noticed the others refuse what they will do later."""
RECOVERS_S: Final = 0.2
"""How long a node that comes back refuses everything, at least."""

_PORTS: Final = 3
_CALL: Final = "/handsim.Node/Call"


@dataclass(frozen=True)
class Members:
    """Who belongs to the cluster, as one node knows it."""

    order: list[int]
    """Numbers of the living nodes, the senior first."""
    lives: list[int]
    """The `Node.life` that each one has, or had."""
    joined: int = 0
    """How often a node came back."""

    def without(self, number: int) -> "Members":
        return replace(self, order=[other for other in self.order if other != number])

    def merge(self, other: "Members") -> "Members":
        """What both know: a loss may be noticed anywhere, that a node came back is told by the senior."""
        if self.joined != other.joined:
            return max(self, other, key=lambda members: members.joined)
        return replace(self, order=[number for number in self.order if number in other.order])


class Node(SmallServer):
    """One node of the cluster."""

    def __init__(self, port: int, number: int, *, joining: bool) -> None:
        super().__init__(ports=(port + _PORTS * number, port + _PORTS * number + 1))
        self.number = number
        self.joining = joining
        self.life = os.getpid() if joining else 0
        """Differs before and after it was killed."""
        self.members = Members([] if joining else list(range(NODES)), [0] * NODES)
        self.log: list[tuple[str, bytes]] = []
        self._first_port = port
        self._committing = Lock()
        self._learning = Lock()
        self._channels: dict[int, Any] = {}
        self._settled_at = 0.0
        self._refusals = 0
        self._replicas: dict[str, tuple[int, int, int]] = {}
        """Of each collection: shards, replicas of each, and how many must take a write."""
        self._internal = grpc.server(ThreadPoolExecutor(32), handlers=[_Internal(self)])
        assert self._internal.add_insecure_port(f"127.0.0.1:{self._internal_port(number)}")
        self._internal.start()

    def handle(self, name: str, request: Any) -> Any:
        if name == "HealthCheck":
            return super().handle(name, request)
        if self.joining:
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE, "Shard temporarily unavailable: shard 0 is being recovered"
            )
        if name not in WRITES:
            if name in ("Get", "GetCollection", "Scroll", "Count", "QueryBatch"):
                self._check_readable(request)
            return super().handle(name, request)
        message = {"do": "commit", "name": name, "request": _encode(request.SerializeToString())}
        while True:
            reply = self._call(self._senior(), {**message, "from": self.number})
            if reply is not None and "members" in reply:  # else it died, or is not the senior any more
                break
        self._learn(Members(**reply["members"]))
        if "text" in reply:
            raise Refusal(next(code for code in grpc.StatusCode if code.name == reply["code"]), reply["text"])
        return _decode(reply["reply"])

    def answer(self, name: str, request: Any) -> Any:
        if name in WRITES:
            self.log.append((name, request.SerializeToString()))
        try:
            reply = super().answer(name, request)
        except Refusal:
            self.log.pop()
            raise
        if name == "Create":
            replicas = request.replication_factor or 1
            needed = request.write_consistency_factor or 1
            shards = request.shard_number or NODES
            self._replicas[request.collection_name] = shards, replicas, min(needed, replicas)
        return reply

    def receive(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer another node."""
        if message["do"] == "ping":
            return {"life": self.life}
        if message["do"] == "append":
            with self.lock:
                self._learn(Members(**message["members"]))
                self.answer(message["name"], _parse(message["name"], _decode(message["request"])))
            return {}
        if self._senior() != self.number:
            return {}
        with self._committing:
            if message["do"] == "join":
                return self._admit(message["number"], message["life"])
            return {**self._commit(message), "members": asdict(self.members)}

    def join(self) -> None:
        """Take the store over from the senior node; whoever writes waits meanwhile."""
        time.sleep(RECOVERS_S)
        others = [number for number in range(NODES) if number != self.number]
        message = {"do": "join", "number": self.number, "life": self.life}
        with self.lock:
            while True:
                replies = (self._call(number, message) for number in others)
                state = next((reply for reply in replies if reply), None)
                if state is not None:
                    break
                time.sleep(0.05)
            for name, request in state["log"]:
                self.answer(name, _parse(name, _decode(request)))
            self.members = Members(**state["members"])
            self.joining = False

    def read_cluster(self) -> dict[str, Any]:
        order = self._notice()
        return {
            "status": "enabled",
            "peer_id": self.number + 1,
            "peers": {
                str(number + 1): {"uri": f"http://127.0.0.1:{self._internal_port(number)}/"}
                for number in range(NODES)
            },
            "raft_info": {
                "term": 1 + self.members.joined,
                "commit": len(self.log),
                "pending_operations": 0,
                "leader": order[0] + 1 if order else None,
                "role": "Leader" if order[:1] == [self.number] else "Follower",
                "is_voter": True,
            },
            "consensus_thread_status": {
                "consensus_thread_status": "working",
                "last_update": "2026-01-01T00:00:00Z",
            },
            "message_send_failures": {
                f"http://127.0.0.1:{self._internal_port(number)}/": {
                    "count": 1,
                    "latest_error": unreachable(number + 1),
                }
                for number in range(NODES)
                if number not in order
            },
        }

    def read_shards(self, collection: str) -> models.CollectionClusterInfo:
        order = self._notice()
        points = self.memory.count(collection, exact=True).count
        shards, _, _ = self._replicas[collection]
        local, remote = [], []
        for shard in range(shards):
            for number in self._nodes(collection, shard):
                is_alive = number in order
                state = models.ReplicaState.ACTIVE if is_alive else models.ReplicaState.DEAD
                if number == self.number:
                    count = points // shards
                    local.append(models.LocalShardInfo(shard_id=shard, points_count=count, state=state))
                else:
                    remote.append(models.RemoteShardInfo(shard_id=shard, peer_id=number + 1, state=state))
        return models.CollectionClusterInfo(
            peer_id=self.number + 1,
            shard_count=shards,
            local_shards=local,
            remote_shards=remote,
            shard_transfers=[],
        )

    def _commit(self, message: dict[str, Any]) -> dict[str, Any]:
        """Apply a write here and on all other living nodes, as far as it is not refused."""
        self._notice()
        name, request = message["name"], _parse(message["name"], _decode(message["request"]))
        refusal, applied = self._refuse(name, request, message["from"])
        try:
            if refusal is not None and not applied:
                raise refusal
            with self.lock:
                reply = self.answer(name, request)
            for number in self.members.order[1:]:
                self._call(number, {**message, "do": "append", "members": asdict(self.members)})
            if refusal is not None:
                raise refusal
        except Refusal as error:
            return {"code": error.code.name, "text": error.text}
        return {"reply": _encode(reply.SerializeToString())}

    def _refuse(self, name: str, request: Any, receiver: int) -> tuple[Refusal | None, bool]:
        """Whether a cluster refuses a write now, and whether it makes it all the same."""
        order, is_settling = self.members.order, time.monotonic() < self._settled_at
        if name in CONSENSUS:
            if not is_settling:
                return None, True
            self._refusals += 1
            return (NOT_COMMITTED, True) if self._refusals % 2 else (NO_LEADER, False)
        if request.collection_name not in self._replicas:
            return None, True  # the store answers that there is none
        total, _, needed = self._replicas[request.collection_name]
        ordering = q.WriteOrderingType.Name(request.ordering.type) if request.HasField("ordering") else "Weak"
        touched = sorted({_shard(point, total) for point in _ids(request)}) or range(total)
        failures = []
        for shard in touched:
            nodes = self._nodes(request.collection_name, shard)
            lost = [number for number in nodes if number not in order]
            leader = max(nodes if ordering == "Strong" or is_settling else set(nodes) - set(lost), default=0)
            if len(lost) == len(nodes):
                failures.append(
                    f"The replica set for shard {shard} on peer {receiver + 1} has no active replica"
                )
            elif ordering == "Weak" and len(nodes) - len(lost) < needed:
                failures.append(unreachable(lost[0] + 1))
            elif ordering != "Weak" and leader in lost:
                failures.append(via_leader(ordering, leader + 1))
        if not failures:
            return None, True
        text = failures[0]
        if len(failures) < len(touched):
            text = some_shards(len(failures), len(touched), text)
        return Refusal.internal(text), ordering == "Weak"

    def _check_readable(self, request: Any) -> None:
        """Raise Refusal where too few replicas are alive for the wished consistency."""
        collection = getattr(request, "collection_name", "")
        if collection not in self._replicas:
            return
        shards, replicas, _ = self._replicas[collection]
        needed = 1
        if "read_consistency" in request.DESCRIPTOR.fields_by_name and request.HasField("read_consistency"):
            self._notice()
            wish = request.read_consistency
            if wish.WhichOneof("value") == "factor":
                needed = min(wish.factor, replicas)
            else:
                is_quorum = wish.type == q.ReadConsistencyType.Quorum
                needed = replicas // 2 + 1 if is_quorum else replicas
        for shard in range(shards):
            nodes = self._nodes(collection, shard)
            if len(set(nodes) & set(self.members.order)) < min(needed, len(nodes)):
                peer = self.number + 1
                raise Refusal.internal(
                    f"The replica set for shard {shard} on peer {peer} does not have enough active replicas"
                    if needed > 1
                    else "0 of 0 read operations failed"
                )

    def _nodes(self, collection: str, shard: int) -> list[int]:
        """The nodes that hold a shard."""
        _, replicas, _ = self._replicas[collection]
        return [(shard + number) % NODES for number in range(min(replicas, NODES))]

    def _admit(self, number: int, life: int) -> dict[str, Any]:
        """Have a node that comes back be the youngest; returns what it must know."""
        self._lose(number)
        with self._learning:
            lives = [*self.members.lives]
            lives[number] = life
            self.members = Members([*self.members.order, number], lives, self.members.joined + 1)
        log = [(name, _encode(request)) for name, request in self.log]
        return {"log": log, "members": asdict(self.members)}

    def _senior(self) -> int:
        """The node that orders the writes."""
        while not self._is_alive(senior := self.members.order[0]):
            continue
        return senior

    def _notice(self) -> list[int]:
        """Look who is alive."""
        return [number for number in self.members.order if self._is_alive(number)]

    def _is_alive(self, number: int) -> bool:
        reply = self._call(number, {"do": "ping"})
        if reply is not None and reply["life"] != self.members.lives[number]:
            self._lose(number)  # it was killed, and started again, since
            return False
        return reply is not None

    def _learn(self, members: Members) -> None:
        with self._learning:
            self.members = self.members.merge(members)

    def _lose(self, number: int) -> None:
        with self._learning:
            if number in self.members.order:
                self.members = self.members.without(number)
                self._settled_at = time.monotonic() + SETTLES_S
        self._channels.pop(number, None)

    def _call(self, number: int, message: dict[str, Any]) -> dict[str, Any] | None:
        """Another node's answer, or this one's own; None when it is dead."""
        if number == self.number:
            return self.receive(message)
        if number not in self._channels:
            options = [("grpc.use_local_subchannel_pool", 1)]  # else a new channel waits as the old one did
            self._channels[number] = grpc.insecure_channel(
                f"127.0.0.1:{self._internal_port(number)}", options
            )
        call = self._channels[number].unary_unary(_CALL)
        try:
            reply = call(json.dumps(message).encode(), timeout=60)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            self._lose(number)
            return None
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _internal_port(self, number: int) -> int:
        return self._first_port + _PORTS * number + 2


class _Internal(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """What the nodes say to one another."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda message, _: json.dumps(self._node.receive(json.loads(message))).encode()
        )


def _parse(name: str, request: bytes) -> Any:
    message, _ = METHODS[name]
    return message.FromString(request)


def _encode(message: bytes) -> str:
    return base64.b64encode(message).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text)


def _ids(request: Any) -> Iterator[Any]:
    """The points that a write names; none for a filter."""
    if isinstance(request, q.UpsertPoints):
        yield from (point.id for point in request.points)
    else:
        yield from request.points.points.ids


def _shard(point: Any, shards: int) -> int:
    return zlib.crc32(point.SerializeToString()) % shards


class SmallCluster:
    """Starts the nodes as processes, kills them with SIGKILL, and starts them again."""

    def __init__(self) -> None:
        # Forked from a process that has imported all that a node needs: one is back in a tenth of a second.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._processes: dict[int, tuple[Any, Connection]] = {}
        self._first_port = free_ports(_PORTS * NODES)[0]

    def port(self, number: int) -> int:
        """Of the REST interface of a node; that of its gRPC interface is one above."""
        return self._first_port + _PORTS * number

    def address(self, number: int, name: str = "hands") -> str:
        """Of an index, as one node answers for it."""
        return f"http://127.0.0.1:{self.port(number)}/{name}"

    def start(self, *numbers: int) -> None:
        """Start all nodes, or these again; returns when they answer, if only that they are not ready yet."""
        for number in numbers or range(NODES):
            connection, end = self._context.Pipe()
            arguments = (self._first_port, number, bool(numbers), end)
            process = self._context.Process(target=_run_node, args=arguments, daemon=True)
            process.start()
            end.close()
            self._processes[number] = process, connection
        for number in numbers or range(NODES):
            self._processes[number][1].recv()

    def kill(self, number: int) -> None:
        """With SIGKILL."""
        process, connection = self._processes.pop(number)
        process.kill()
        process.join()
        connection.close()

    def __enter__(self) -> "SmallCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number in [*self._processes]:
            self.kill(number)


def _run_node(first_port: int, number: int, joining: bool, connection: Connection) -> None:
    node = Node(first_port, number, joining=joining)
    node.start()
    connection.send("it answers")
    if joining:
        node.join()
    with suppress(EOFError):
        connection.recv()  # until it is killed, or the process of the tests ends

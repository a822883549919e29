"""A node of a cluster of small servers, which together hold one replicated store.

Every write goes through the senior node, which appends it to the log of each other one, in the order in which
they joined. The next in that order takes its place when it dies: no log is longer than its own. A node that
comes back replays the log, and is the youngest.
"""

import base64
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import Any, Final

import grpc
from qdrant_client import models

from tests.index.server.availability import Placement, ordering_of
from tests.index.server.refusals import NO_LEADER, NOT_COMMITTED, RECOVERING, Refusal, unreachable
from tests.index.server.small_server import CONSENSUS, METHODS, READS, WRITES, SmallServer

NODES: Final = 3
PORTS: Final = 3
"""Of each node: for REST, for gRPC, and for the other nodes."""
SETTLES_S: Final = 0.3
"""How long after a loss was noticed a cluster refuses what it will do later."""
RECOVERS_S: Final = 0.1
"""How long a node that comes back refuses everything, at least."""

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
        """What both know: any node may notice a loss, that one came back is told by the senior."""
        if self.joined != other.joined:
            return max(self, other, key=lambda members: members.joined)
        return replace(self, order=[number for number in self.order if number in other.order])


class Node(SmallServer):
    """One of `NODES`."""

    def __init__(self, first_port: int, number: int, *, joining: bool) -> None:
        """``joining``: the others are there already, and it takes their store over in `join`."""
        port = first_port + PORTS * number
        super().__init__(ports=(port, port + 1))
        self.number = number
        self.joining = joining
        self.life = os.getpid() if joining else 0
        """Differs before and after it was killed."""
        self.members = Members([] if joining else list(range(NODES)), [0] * NODES)
        self.log: list[tuple[str, bytes]] = []
        self._first_port = first_port
        self._committing = Lock()
        self._learning = Lock()
        self._channels: dict[int, Any] = {}
        self._placements: dict[str, Placement] = {}
        self._settled_at = 0.0
        self._refusals = 0
        self._internal = grpc.server(ThreadPoolExecutor(32), handlers=[_Internal(self)])
        assert self._internal.add_insecure_port(f"127.0.0.1:{port + 2}")
        self._internal.start()

    def handle(self, name: str, request: Any) -> Any:
        if name == "HealthCheck":
            return super().handle(name, request)
        if self.joining:
            raise RECOVERING
        if name in WRITES:
            return self._write(name, request)
        placement = self._placements.get(getattr(request, "collection_name", ""))
        if name in READS and placement is not None:
            refusal = placement.refuse_read(request, self._notice())
            if refusal is not None:
                raise refusal
        return super().handle(name, request)

    def answer(self, name: str, request: Any) -> Any:
        reply = super().answer(name, request)
        if name in WRITES:
            self.log.append((name, request.SerializeToString()))
        if name == "Create":
            self._placements[request.collection_name] = Placement.of(request, NODES)
        return reply

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
                self.answer(name, _decode(name, request))
            self.members = Members(**state["members"])
            self.joining = False

    def receive(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer another node."""
        match message["do"]:
            case "ping":
                return {"life": self.life}
            case "learn":
                self._learn(Members(**message["members"]))
                return {}
            case "append":
                self._learn(Members(**message["members"]))
                with self.lock:
                    self.answer(message["name"], _decode(message["name"], message["request"]))
                return {}
        if self._senior() != self.number:
            return {}
        with self._committing:
            if message["do"] == "join":
                return self._admit(message["number"], message["life"])
            return {**self._commit(message), "members": asdict(self.members)}

    def read_cluster(self) -> dict[str, Any]:
        order = self._notice()
        urls = [f"http://127.0.0.1:{self._port(number)}/" for number in range(NODES)]
        lost = [number for number in range(NODES) if number not in order]
        return {
            "status": "enabled",
            "peer_id": self.number + 1,
            "peers": {str(number + 1): {"uri": urls[number]} for number in range(NODES)},
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
                urls[number]: {"count": 1, "latest_error": unreachable(number + 1)} for number in lost
            },
        }

    def read_shards(self, collection: str) -> models.CollectionClusterInfo:
        order = self._notice()
        points = self.memory.count(collection, exact=True).count
        placement = self._placements[collection]
        local, remote = [], []
        for shard in range(placement.shards):
            for number in placement.holders(shard):
                state = models.ReplicaState.ACTIVE if number in order else models.ReplicaState.DEAD
                if number == self.number:
                    share = points // placement.shards
                    local.append(models.LocalShardInfo(shard_id=shard, points_count=share, state=state))
                else:
                    remote.append(models.RemoteShardInfo(shard_id=shard, peer_id=number + 1, state=state))
        return models.CollectionClusterInfo(
            peer_id=self.number + 1,
            shard_count=placement.shards,
            local_shards=local,
            remote_shards=remote,
            shard_transfers=[],
        )

    def _write(self, name: str, request: Any) -> bytes:
        """Have the senior node commit a write; the reply, or raises Refusal."""
        message = {"do": "commit", "name": name, "request": _encode(request.SerializeToString())}
        while True:
            reply = self._call(self._senior(), message)
            if reply is not None and "members" in reply:  # else it died, or is not the senior any more
                break
        self._learn(Members(**reply["members"]))
        if "text" in reply:
            raise Refusal(grpc.StatusCode[reply["code"]], reply["text"])
        return base64.b64decode(reply["reply"])

    def _commit(self, message: dict[str, Any]) -> dict[str, Any]:
        """Apply a write here and on all other living nodes, as far as it is not refused."""
        name, request = message["name"], _decode(message["name"], message["request"])
        refusal, is_made = self._refuse(name, request, self._notice())
        try:
            if refusal is not None and not is_made:
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

    def _refuse(self, name: str, request: Any, living: list[int]) -> tuple[Refusal | None, bool]:
        """Whether a write is refused now, and whether it is made all the same."""
        is_settling = time.monotonic() < self._settled_at
        if name in CONSENSUS:
            self._refusals += is_settling
            if not is_settling:
                return None, True
            return (NOT_COMMITTED, True) if self._refusals % 2 else (NO_LEADER, False)
        placement = self._placements.get(request.collection_name)
        if placement is None:
            return None, True  # the store answers that there is no such collection
        refusal = placement.refuse_write(request, living, is_settling)
        return refusal, ordering_of(request) == "Weak"

    def _admit(self, number: int, life: int) -> dict[str, Any]:
        """Have a node that comes back be the youngest; returns what it must know."""
        self._lose(number)
        with self._learning:
            lives = [*self.members.lives]
            lives[number] = life
            self.members = Members([*self.members.order, number], lives, self.members.joined + 1)
        # Before it counts, and the next senior first: else one that dies now would take this knowledge along.
        for other in self.members.order[1:-1]:
            self._call(other, {"do": "learn", "members": asdict(self.members)})
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

    def _call(self, number: int, message: dict[str, Any]) -> dict[str, Any] | None:
        """Another node's answer, or this one's own; None when it is dead."""
        if number == self.number:
            return self.receive(message)
        for channel in self._channels_to(number):
            try:
                reply = channel.unary_unary(_CALL)(json.dumps(message).encode(), timeout=60)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                continue
            self._channels[number] = channel
            answer: dict[str, Any] = json.loads(reply)
            return answer
        self._lose(number)
        return None

    def _channels_to(self, number: int) -> Iterator[Any]:
        """The last one that worked, and a new one: that node may have been started again since."""
        channel = self._channels.pop(number, None)
        if channel is not None:
            yield channel
        options = [
            ("grpc.use_local_subchannel_pool", 1),  # else it waits as the old one did
            ("grpc.max_receive_message_length", -1),  # who comes back gets the whole log
        ]
        yield grpc.insecure_channel(f"127.0.0.1:{self._port(number)}", options)

    def _port(self, number: int) -> int:
        """Where a node listens to the others."""
        return self._first_port + PORTS * number + 2


class _Internal(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """What the nodes say to one another, as JSON."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda message, _: json.dumps(self._node.receive(json.loads(message))).encode()
        )


def _encode(message: bytes) -> str:
    return base64.b64encode(message).decode()


def _decode(name: str, request: str) -> Any:
    message, _ = METHODS[name]
    return message.FromString(base64.b64decode(request))

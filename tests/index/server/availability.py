"""What a Qdrant cluster refuses while some of its nodes are away, as its source of 1.16 to 1.19 has it.

Shard `s` of a collection lies on as many nodes as it has replicas, from node `s` on. A write or a read is
refused or not shard by shard; see `Placement`.
"""

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from qdrant_client import grpc as q

from tests.index.server.refusals import Refusal, some_shards, unreachable, via_leader


@dataclass(frozen=True)
class Placement:
    """Where a collection lies."""

    nodes: int
    shards: int
    replicas: int
    needed: int
    """Its write consistency factor: replicas of a shard that must take a write."""

    @classmethod
    def of(cls, request: Any, nodes: int) -> "Placement":
        """That of a collection about to be created, on so many nodes."""
        replicas = min(request.replication_factor or 1, nodes)
        needed = min(request.write_consistency_factor or 1, replicas)
        return cls(nodes, request.shard_number or nodes, replicas, needed)

    def holders(self, shard: int) -> list[int]:
        """The nodes that hold a shard."""
        return [(shard + number) % self.nodes for number in range(self.replicas)]

    def refuse_write(self, request: Any, living: Collection[int], is_settling: bool) -> Refusal | None:
        """The refusal of a write of points, None for one that succeeds on all its shards.

        Weak ordering needs ``needed`` living replicas; medium ordering the highest living one, which is not
        yet agreed upon while the cluster is settling; strong ordering the highest, for as long as it is away.
        """
        ordering = ordering_of(request)
        shards = sorted({zlib.crc32(point.SerializeToString()) % self.shards for point in _ids(request)})
        shards = shards or [*range(self.shards)]
        failures = []
        for shard in shards:
            holders = self.holders(shard)
            alive = [number for number in holders if number in living]
            lost = [number for number in holders if number not in living]
            leader = max(holders if ordering == "Strong" or is_settling else alive, default=0)
            if not alive:
                failures.append(f"The replica set for shard {shard} on peer 1 has no active replica")
            elif ordering == "Weak" and len(alive) < self.needed:
                failures.append(unreachable(lost[0] + 1))
            elif ordering != "Weak" and leader in lost:
                failures.append(via_leader(ordering, leader + 1))
        if not failures:
            return None
        are_all = len(failures) == len(shards)
        return Refusal.internal(
            failures[0] if are_all else some_shards(len(failures), len(shards), failures[0])
        )

    def refuse_read(self, request: Any, living: Collection[int]) -> Refusal | None:
        """The refusal of a read: majority asks all replicas, quorum more than half, the default any."""
        needed = 1
        if "read_consistency" in request.DESCRIPTOR.fields_by_name and request.HasField("read_consistency"):
            wish = request.read_consistency
            if wish.WhichOneof("value") == "factor":
                needed = min(wish.factor, self.replicas)
            elif wish.type == q.ReadConsistencyType.Quorum:
                needed = self.replicas // 2 + 1
            else:
                needed = self.replicas
        for shard in range(self.shards):
            if sum(number in living for number in self.holders(shard)) < needed:
                return Refusal.internal(
                    "0 of 0 read operations failed"
                    if needed == 1
                    else f"The replica set for shard {shard} on peer 1 does not have enough active replicas"
                )
        return None


def ordering_of(request: Any) -> str:
    """Weak, Medium or Strong."""
    name: str = q.WriteOrderingType.Name(request.ordering.type) if request.HasField("ordering") else "Weak"
    return name


def _ids(request: Any) -> Iterator[Any]:
    """The points that a write names; none for a filter."""
    if isinstance(request, q.UpsertPoints):
        yield from (point.id for point in request.points)
    else:
        yield from request.points.points.ids

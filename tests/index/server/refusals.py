"""What a Qdrant cluster answers while one of its nodes is away, word for word.

Read in Qdrant's source, 1.16 to 1.19: `replica_set/update.rs`, `replica_set/execute_read_operation.rs`,
`collection/point_ops.rs`, `consensus_manager.rs`, `operations/types.rs` and `content_manager/errors.rs`.
"""

from dataclasses import dataclass
from typing import Final

import grpc

HTTP_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.DEADLINE_EXCEEDED: 408,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
}
"""What the REST interface answers where the gRPC one answers with a code."""


@dataclass(eq=False)
class Refusal(Exception):
    """Answered instead of a result."""

    code: grpc.StatusCode
    text: str

    @classmethod
    def internal(cls, text: str) -> "Refusal":
        return cls(grpc.StatusCode.INTERNAL, f"Service internal error: {text}")

    @property
    def http_status(self) -> int:
        return HTTP_STATUS[self.code]


def unreachable(peer: int) -> str:
    """A call from one node to another."""
    return (
        "Tonic status error: status: Unavailable, message: "
        f'"Failed to connect to http://qdrant-{peer}:6335/, error: transport error", details: [], '
        "metadata: MetadataMap { headers: {} }"
    )


def via_leader(ordering: str, peer: int) -> str:
    """A write with an ordering whose leader is away."""
    return (
        f"Failed to apply update with {ordering} ordering via leader peer {peer}: "
        f"Service internal error: {unreachable(peer)}"
    )


def some_shards(failed: int, total: int, first: str) -> str:
    """A write that succeeded on the other shards."""
    return (
        f"{failed} out of {total} shards failed to apply operation. "
        f"First error captured: Service internal error: {first}"
    )


NO_LEADER: Final = Refusal.internal("Failed to propose operation: leader is not established within 10s")
"""Of changes of collections and aliases; they are not made."""
NOT_COMMITTED: Final = Refusal.internal(
    "Waiting for consensus operation commit failed. Timeout set at: 10 seconds"
)
"""Of changes of collections and aliases; they may be made later."""

RECOVERING: Final = Refusal(
    grpc.StatusCode.UNAVAILABLE, "Shard temporarily unavailable: shard 0 is being recovered"
)
"""Of a node that came back and has not got its shards yet."""

LOST_NODE: Final = (
    Refusal.internal(some_shards(2, 3, via_leader("Strong", 3))),
    Refusal.internal(via_leader("Medium", 3)),
    Refusal.internal(unreachable(3)),
    NO_LEADER,
    NOT_COMMITTED,
    Refusal.internal("The replica set for shard 0 on peer 1 has no active replica"),
    Refusal.internal("The replica set for shard 0 on peer 1 does not have enough active replicas"),
    Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "Timeout: Operation 'Update' timed out after 60s"),
    RECOVERING,
)
"""Each of them passes."""

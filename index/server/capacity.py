"""What a server tells of its nodes before a version is built: how many there are, their memory and disk.

Both come over the REST port, gRPC has neither. A key for some collections alone may not ask, and a firewall
may close that port: what is not told is not guessed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from qdrant_client import QdrantClient, models

from handsim.errors import HandsimError
from index.plan import BuildPlan
from index.server.client import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class Capacity:
    """Of a server or cluster; None for what it does not tell."""

    nodes: int | None
    memory_bytes: int | None
    """Of the node that answered: all that its process may take."""
    disk_bytes: int | None
    """Of that node: the size of the disk it stores collections on."""

    @classmethod
    def read(cls, connection: Connection) -> "Capacity":
        """Ask, once."""
        count = count_nodes(connection)
        if count is None:
            return cls(None, None, None)
        telemetry = _ask(connection, lambda client: client.http.service_api.telemetry(details_level=1).result)
        system = telemetry and telemetry.app and telemetry.app.system
        memory_kib, disk_kib = (system.ram_size, system.disk_size) if system else (None, None)
        return cls(count, memory_kib and memory_kib * 1024, disk_kib and disk_kib * 1024)

    def check(self, plan: BuildPlan, address: str) -> None:
        """Raise HandsimError where they certainly cannot hold a version."""
        settings, needed = plan.settings, plan.least_bytes_per_node
        share = f"its share of the vectors alone takes {needed / 1e9:,.1f} GB"
        if self.nodes is not None and settings.replicas > self.nodes:
            nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
            raise HandsimError(
                f"replicas is {settings.replicas}, each on a node of its own, and {address} has {nodes}; "
                f"use --replicas {self.nodes}, or add nodes first"
            )
        if self.disk_bytes is not None and needed > self.disk_bytes:
            raise HandsimError(
                f"a node of {address} has a disk of {self.disk_bytes / 1e9:,.1f} GB, and {share}; "
                f"add nodes or disk"
            )
        if self.memory_bytes is not None and needed > self.memory_bytes and not settings.on_disk:
            raise HandsimError(
                f"a node of {address} has {self.memory_bytes / 1e9:,.1f} GB of memory, and {share}; "
                f"use --on-disk, or add nodes"
            )


def count_nodes(connection: Connection) -> int | None:
    """How many nodes a server consists of, those that are away too; None where it does not tell."""
    status = _ask(connection, lambda client: client.cluster_status())
    if status is None:
        return None
    return len(status.peers) if isinstance(status, models.ClusterStatusOneOf1) else 1


def _ask(connection: Connection, question: Callable[[QdrantClient], T]) -> T | None:
    try:
        return connection.without_retries().call(question)
    except HandsimError:
        return None

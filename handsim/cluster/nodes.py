"""The machines of a Ray cluster: which there are, and whether they are fit to work for this run."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from handsim.cluster.messages import GatewayRequest
from handsim.english import pluralize
from handsim.errors import HandsimError

_LOOK_EVERY_S: Final = 5.0
_ANSWER_S: Final = 60.0
"""A node that is well answers within this: Python has to start there for it."""
_LONGEST_REASON: Final = 200
_DEAD_AFTER_S: Final = 120.0
"""Without any node for so long, the run ends."""


@dataclass(eq=False)
class Node:
    """A machine of the cluster."""

    node_id: str
    name: str
    resources: dict[str, float]
    """As Ray counts them: ``CPU``, ``GPU``, ..."""
    answer: Any
    """The reference of what it says of itself; None once it was read."""
    asked_s: float
    is_late: bool
    """Whether it joined when the work had begun."""
    is_fit: bool = False
    has_worked: bool = False
    """Whether a worker has started here."""
    failed_starts: int = 0
    """Workers that died in a row while starting here."""

    @property
    def place(self) -> NodeAffinitySchedulingStrategy:
        """For Ray: run here and nowhere else."""
        return NodeAffinitySchedulingStrategy(self.node_id, soft=False)


class NodeWatch:
    """The nodes that are there; those that join are asked what they have before they are used."""

    def __init__(self, request: GatewayRequest, say: Callable[[str], None]) -> None:
        """Ask every node; raises HandsimError for the first that is not fit, or where none has a core."""
        self._request, self._say = request, say
        self._nodes: dict[str, Node] = {}
        self._has_begun = False
        self._looked_s = self._alive_s = time.monotonic()
        self._look()
        while asked := [node for node in self._nodes.values() if node.answer is not None]:
            ray.wait([node.answer for node in asked], timeout=0.5)
            for node in asked:
                self._read_answer(node)
        self._has_begun = True
        if not any(slots for _, slots in self.slots()):
            nodes = pluralize(len(self._nodes), "node")
            raise HandsimError(f"the Ray cluster at {request.address} has {nodes}, none with a core to use")

    def update(self) -> None:
        """Look, now and then, for nodes that joined or went; raises HandsimError where none is left."""
        for node in self._nodes.values():
            self._read_answer(node)
        if time.monotonic() - self._looked_s > _LOOK_EVERY_S:
            self._look()
        if any(node.is_fit for node in self._nodes.values()):
            self._alive_s = time.monotonic()
        elif time.monotonic() - self._alive_s > _DEAD_AFTER_S:
            raise HandsimError(
                f"no node of the Ray cluster at {self._request.address} is left to work; "
                f"start some, and run the same command again: it goes on from here"
            )

    def slots(self) -> Iterator[tuple[Node, int]]:
        """The nodes that are fit, and how many workers each has room for.

        Where workers want GPUs and the cluster has any, nodes without one are not used: all would wait for
        what they work on.
        """
        gpus = self._request.gpus
        wants_gpus = gpus > 0 and any(node.resources.get("GPU") for node in self._nodes.values())
        for node in self._nodes.values():
            if node.is_fit:
                cores = int(node.resources.get("CPU", 0))
                yield node, min(cores, int(node.resources.get("GPU", 0) / gpus)) if wants_gpus else cores

    def refuse(self, node: Node, fault: str) -> None:
        """Do without a node; raises HandsimError for one that was there from the start and never worked."""
        node.is_fit = False
        if not (node.is_late or node.has_worked):
            raise HandsimError(fault)
        self._say(f"not used: {fault}")

    def is_there(self, node: Node) -> bool:
        """Whether a node is alive, as far as the head knows."""
        self._look()
        return node.node_id in self._nodes

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        list_nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
        alive = {listed["NodeID"]: listed for listed in list_nodes() if listed["Alive"]}
        for node_id in self._nodes.keys() - alive.keys():
            node = self._nodes.pop(node_id)
            if node.is_fit:
                self._say(f"node {node.name} was lost; what it had goes to the others")
        for node_id in alive.keys() - self._nodes.keys():
            self._nodes[node_id] = self._ask(alive[node_id])

    def _ask(self, listed: dict[str, Any]) -> Node:
        name, address = listed["NodeName"], listed["NodeManagerAddress"]
        if name == address:  # it was not given one
            name = f"{listed['NodeManagerHostname']} ({address})"
        node = Node(listed["NodeID"], name, listed["Resources"], None, time.monotonic(), self._has_begun)
        if self._request.is_own:  # this machine and this Python: nothing to ask, and a second less to wait
            node.is_fit = True
            return node
        probe: Any = ray.remote(num_cpus=0, max_retries=0)(_make_probe())
        node.answer = probe.options(scheduling_strategy=node.place).remote(list(self._request.paths))
        return node

    def _read_answer(self, node: Node) -> None:
        """Read what a node has answered, if it has; raises as `refuse` for one that is not fit.

        A node that died a moment ago is still listed, and answers nothing: that is no reason not to work.
        """
        if node.answer is None:
            return
        if not ray.wait([node.answer], timeout=0)[0]:
            if time.monotonic() - node.asked_s > _ANSWER_S:
                node.answer = None
                self._say(f"not used: node {node.name} did not answer within {_ANSWER_S:.0f} s")
            return
        answer, node.answer = node.answer, None
        try:
            installed, missing = ray.get(answer)
        except RayError as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            self._say(f"not used: node {node.name} runs nothing ({reason})")
            return
        ours = self._request.version
        node.is_fit = True
        if installed != ours:
            theirs = f"handsim {installed}" if installed else "no handsim"
            self.refuse(node, f"node {node.name} has {theirs}, and this machine {ours}; install {ours} there")
        elif missing:
            more = f" (nor {len(missing) - 1:,} more)" if len(missing) > 1 else ""
            self.refuse(
                node,
                f"node {node.name} cannot read {missing[0]}{more}; every node must see the same files under "
                f"the same paths, as on a shared file system",
            )


def _make_probe() -> Callable[[list[str]], tuple[str, list[str]]]:
    """What is run on a node to see what it has. A function made in here is sent whole, not by its name: the
    handsim that is installed there may be another one."""

    def probe(paths: list[str]) -> tuple[str, list[str]]:
        try:
            installed = version("handsim")
        except PackageNotFoundError:
            installed = ""
        return installed, [path for path in paths if not os.access(path, os.R_OK)]

    return probe

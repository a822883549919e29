"""What the main process and its gateway to the cluster say to each other."""

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class GatewayRequest:
    """What a gateway is asked to start."""

    address: str
    """``auto``, or host:port of the head."""
    make_worker: bytes
    """Makes a `ClusterWorker`. Packed, as for a pipe: unpacking it may load libraries that the gateway can do
    without."""
    paths: tuple[str, ...]
    """Absolute paths that every node must be able to read."""
    version: str
    """Of handsim, which every node must have."""
    most_workers: int | None
    """None: one for each core (or share of a GPU) of the cluster."""
    tries: int
    """So many workers may die of a task."""
    gpus: float
    """Share of a GPU that each worker takes; 0: none."""
    ask_every_s: float
    """A worker that is busy with one task is asked so often whether it hangs."""

    @property
    def is_own(self) -> bool:
        """Whether a cluster of this machine alone is started for the run."""
        return self.address == "auto"


class Task(NamedTuple):
    """Something to do."""

    number: int
    content: Any


class Done(NamedTuple):
    """The result of a task."""

    number: int
    result: Any


class TaskLost(NamedTuple):
    """A task that ended its workers."""

    number: int
    is_hung: bool
    """Whether it hung; otherwise the process died."""


class Capacity(NamedTuple):
    """How many tasks the cluster can have, done or not; told first of all, and whenever it changes."""

    tasks: int


class Note(NamedTuple):
    """A line for people."""

    text: str


class Failed(NamedTuple):
    """The gateway ends, for this reason."""

    text: str
    is_ours: bool = False
    """A mistake of ours, with its traceback; otherwise something that a person can mend."""


Message = Done | TaskLost | Capacity | Note | Failed

"""Workers on a Ray cluster, as the process sees them that has the work and writes the results.

Ray ends the process that is connected to a cluster when its head, or this machine's part of it, is away for a
minute. The connection therefore lives in a process of its own, the gateway (`handsim.cluster.gateway`): if
that one dies, this one still has, and writes, all that was found.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from handsim.cluster.messages import Capacity, Done, Failed, GatewayRequest, Message, Note, Task, TaskLost
from handsim.errors import HandsimError, UnavailableError
from handsim.processes import PipeWorker

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_TaskIn = TypeVar("_TaskIn", contravariant=True)
_ResultOut = TypeVar("_ResultOut", covariant=True)

AUTO: Final = "auto"
_DEFAULT_PORT: Final = 6379
"""Where `ray start --head` listens if it is not told otherwise."""
_KNOCK_S: Final = 5.0
"""A head that is there answers within this."""
_CONNECT_S: Final = 120.0
"""Connecting takes a second, starting a cluster on this machine ten; on a busy one several times that."""
_WAKE_S: Final = 0.5
"""How often the main process looks for a stop."""
_RESULTS_AHEAD: Final = 4
"""In order: as many results for each task at work may wait for one that is late."""


@dataclass(frozen=True)
class ClusterOptions:
    """Which Ray cluster, and how many workers on it. Raises HandsimError for values that cannot be."""

    address: str = AUTO
    """``host:port`` of the head. ``auto``: what RAY_ADDRESS says, else the cluster of this machine (port
    6379), else one that is started here and ends with the work."""
    gpus: float = 0.0
    """Share of a GPU that each worker takes; 0: workers need none."""

    def __post_init__(self) -> None:
        if not (0 <= self.gpus <= 1 or self.gpus.is_integer()):
            raise HandsimError(f"a worker cannot take {self.gpus:g} GPUs; take 0 to 1, or a whole number")
        if self.address != AUTO:
            _split_address(self.address)


class ClusterWorker(Protocol[_TaskIn, _ResultOut]):
    """What works on tasks, one after the other, in a process of the cluster."""

    def process(self, task: _TaskIn) -> _ResultOut:
        """The result of one task; a HandsimError ends the whole run."""

    def is_hung(self) -> bool:
        """Whether the task at work has hung; asked from another thread."""


TRIES: Final = 3
"""Workers that may die over one task before it is given up. Two may be killed by chance."""


@dataclass(frozen=True)
class Lost:
    """In place of a result: a worker that had the task hung, or as many as may died."""

    is_hung: bool


class ClusterWorkers(Generic[_Task, _Result]):
    """Worker processes on all nodes of a Ray cluster; a context manager."""

    def __init__(
        self,
        options: ClusterOptions,
        make_worker: Callable[[], ClusterWorker[_Task, _Result]],
        *,
        most_workers: int | None = None,
        tries: int = TRIES,
        paths: Sequence[str | Path] = (),
        ask_every_s: float = 5.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Begin to connect, and to start the workers: one for each core (or share of a GPU) of the cluster.

        Each is made by ``make_worker``, which must be picklable, in its own process; they are at most
        ``most_workers``. A task that ends ``tries`` of them is `Lost`. Every node must be able to read the
        ``paths``. ``say`` gets lines on nodes that come and go.

        Raises UnavailableError when the head does not answer.
        """
        if most_workers is not None and most_workers < 1:
            raise HandsimError(f"--workers is {most_workers}; at least 1 is needed")
        if find_spec("ray") is None:
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        address = _find_address(options.address)
        self._cluster = "the Ray cluster " + ("on this machine" if address == AUTO else f"at {address}")
        self._say = say
        request = GatewayRequest(
            address=address,
            make_worker=bytes(ForkingPickler.dumps(make_worker)),
            paths=tuple(os.path.abspath(path) for path in paths),
            version=version("handsim"),
            most_workers=most_workers,
            tries=tries,
            gpus=options.gpus,
            ask_every_s=ask_every_s,
        )
        self._gateway = PipeWorker(_serve, request)
        self._capacity = 0
        """How many tasks the cluster can have; 0: not connected."""

    def run(
        self,
        tasks: Iterator[_Task | None],
        is_stopped: Callable[[], bool] = lambda: False,
        *,
        in_order: bool = False,
    ) -> Iterator[tuple[_Task, _Result | Lost]]:
        """Tasks and results, until all are done or it ``is_stopped``; as they are ready, or in order.

        No more tasks are taken than the cluster works on, so that results never heap up. A None among them:
        just now there is none; they are asked again when some result is there. Raises HandsimError for one
        that a worker raised, for a node that is not fit, or when no worker can be had; UnavailableError when
        the cluster is mute or lost.
        """
        deadline = time.monotonic() + _CONNECT_S
        sent: dict[int, _Task] = {}
        waiting: dict[int, tuple[_Task, _Result | Lost]] = {}
        numbers, next_number = count(), 0
        while not is_stopped():
            while len(sent) < self._capacity and len(sent) + len(waiting) < _RESULTS_AHEAD * self._capacity:
                task = next(tasks, None)
                if task is None:
                    break
                number = next(numbers)
                self._send(Task(number, task))
                sent[number] = task
            if self._capacity and not sent:
                return
            try:
                message = self._receive(_WAKE_S)
                if not self._capacity and time.monotonic() > deadline:
                    raise UnavailableError(
                        f"no connection to {self._cluster} within {_CONNECT_S:.0f} s; "
                        f"its head must be reachable, and this machine one of its nodes (`ray start`)"
                    )
            except UnavailableError:
                if is_stopped():  # a signal to the whole group ended it
                    return
                raise
            if isinstance(message, Done):
                result: _Result | Lost = message.result
            elif isinstance(message, TaskLost):
                result = Lost(message.is_hung)
            else:
                continue
            waiting[message.number] = sent.pop(message.number), result
            for number in [message.number] if not in_order else count(next_number):
                if number not in waiting:
                    break
                yield waiting.pop(number)
                next_number = number + 1

    def _send(self, task: Task) -> None:
        try:
            self._gateway.connection.send(task)
        except ConnectionError as error:
            raise self._cluster_lost() from error

    def _receive(self, timeout_s: float) -> Message | None:
        """The next message, if one comes in time."""
        try:
            if not self._gateway.connection.poll(timeout_s):
                return None
            message: Message = self._gateway.connection.recv()
        except (EOFError, ConnectionError) as error:
            raise self._cluster_lost() from error
        match message:
            case Capacity(tasks):
                self._capacity = tasks
            case Note(text):
                self._say(text)
            case Failed(text, is_ours):
                raise RuntimeError(text) if is_ours else HandsimError(text)
        return message

    def _cluster_lost(self) -> UnavailableError:
        return UnavailableError(
            f"{self._cluster} was lost; what was done until then is kept, "
            f"and the same command goes on from there"
        )

    def __enter__(self) -> "ClusterWorkers[_Task, _Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self._gateway.stop()


def _serve(connection: Connection, request: GatewayRequest) -> None:
    if request.address.startswith("127.0.0.1:") and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it when it is loaded
    from handsim.cluster.gateway import serve  # in its own process alone: it loads Ray

    serve(connection, request)


def _has_token() -> bool:
    """Whether this user has a token for Ray's clusters, as the first own cluster leaves one.

    `ray start --head` asks for it then, and `ray.init` shows it to no address that is named: it might be a
    stranger's. This machine is none, and a head that asks for no token takes a call with one.
    """
    is_named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return is_named or (Path.home() / ".ray" / "auth_token").is_file()


def _find_address(address: str) -> str:
    """Host and port of a head that answers; ``auto`` where none is named and this machine has none.

    Ray itself tries for minutes to reach a head that is not there.
    """
    named = address if address != AUTO else os.environ.get("RAY_ADDRESS", AUTO)
    if named != AUTO:
        if (error := _knock(*_split_address(named))) is not None:
            raise UnavailableError(f"the Ray head at {named} does not answer ({error}); is it running?")
        return named
    return AUTO if _knock("127.0.0.1", _DEFAULT_PORT) else f"127.0.0.1:{_DEFAULT_PORT}"


def _split_address(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16) or "/" in host:
        raise HandsimError(f"{address!r} is no address of a Ray head; give HOST:PORT (often :6379), or auto")
    return host.strip("[]"), int(port)


def _knock(host: str, port: int) -> str | None:
    """Why nobody answers there; None if somebody does."""
    try:
        socket.create_connection((host, port), _KNOCK_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None

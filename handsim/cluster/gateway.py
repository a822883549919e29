"""The process that is connected to a Ray cluster, and shares tasks out to workers on its nodes.

A worker is an actor: a process of its own, tied to one node, with one core of it or a share of a GPU. It has
the task it works on and one more. When it dies, its node with it or not, the tasks that it had go to others;
a task that ends too many workers is given up. Nodes that join are used, once they were seen to be fit.
"""

import logging
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from handsim.cluster.messages import Capacity, Done, Failed, GatewayRequest, Note, Task, TaskLost
from handsim.cluster.nodes import Node, NodeWatch
from handsim.cluster.workers import ClusterWorker
from handsim.errors import HandsimError

_TASKS_PER_WORKER: Final = 2
"""The one it works on, and one more so that it never waits for the gateway."""
_TASKS_IN_GATEWAY: Final = 1
"""For each worker one more here, so that the gateway never waits for the main process."""
_STARTS: Final = 2
"""So many workers may die in a row while they start on a node."""
_QUESTIONS: Final = "questions"
"""The thread of an actor that answers while another one works."""
_WAKE_S: Final = 0.05
"""How often the gateway looks for new tasks while no result comes."""
_FETCH_S: Final = 10.0
_ANSWER_S: Final = 60.0
"""A worker that does not say within this whether it hangs does."""


def serve(connection: Connection, request: GatewayRequest) -> None:
    """Work until the main process closes the pipe, or until an error that is sent to it."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ctrl-C, it is for the main process
        _connect(request, lambda line: connection.send(Note(line)))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray has set its own handler
        _Gateway(connection, request).run()
    except HandsimError as error:
        connection.send(Failed(str(error)))
    except (EOFError, ConnectionError):
        pass  # the main process is through
    except Exception:
        connection.send(Failed(traceback.format_exc(), is_ours=True))
    finally:
        ray.shutdown()


def _connect(request: GatewayRequest, say: Callable[[str], None]) -> None:
    """Connect this process to the cluster, quietly; raises HandsimError with Ray's reason."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own lines come from its own threads, in many words; what people need is told in ours.
    for descriptor in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    # Ray puts the working directory first on its workers' path: a user's own index.py must not become ours.
    os.chdir(Path(__file__).parents[2])
    try:
        ray.init(
            "local" if request.is_own else request.address,
            include_dashboard=False if request.is_own else None,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
        )
    except Exception as error:  # Ray raises bare ones, too: for a node that starts too slowly
        reason = " ".join(str(error).split())
        if "InvalidAuthToken" in str(error.__cause__):
            reason = "it asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to that of its head"
        where = "on this machine" if request.is_own else f"at {request.address}"
        raise HandsimError(f"Ray did not connect to a cluster {where}: {reason}") from error
    if request.is_own:
        say("no Ray cluster on this machine: one is started for this run")


class _Actor:
    """In a worker's process: the worker, and what it is asked. Errors for people are returned, as text: Ray
    would wrap them."""

    _worker: ClusterWorker[Any, Any] | None = None

    def start(self, make_worker: bytes) -> tuple[None, str]:
        """Make the worker; why that cannot be."""
        try:
            self._worker = ForkingPickler.loads(make_worker)()
        except HandsimError as error:
            return None, str(error)
        return None, ""

    def process(self, task: Any) -> tuple[Any, str]:
        """The result of a task, or the error that ends the run."""
        assert self._worker is not None
        try:
            return self._worker.process(task), ""
        except HandsimError as error:
            return None, str(error)

    def is_hung(self) -> bool:
        return self._worker is not None and self._worker.is_hung()


@dataclass(eq=False)
class _Work:
    """A task, and how many workers it has ended."""

    task: Task
    tries: int = 0


@dataclass(eq=False)
class _Worker:
    """An actor and what it has to do, oldest first."""

    node: Node
    actor: Any
    starting: Any
    """The reference of its start; None once it has started."""
    pending: deque[tuple[Any, _Work]] = field(default_factory=deque)
    heard_s: float = 0.0
    """When its first task became the first."""
    question: Any = None
    """The reference of its answer, whether it hangs."""
    asked_s: float = 0.0

    @property
    def next_reference(self) -> Any:
        """Of what it is to give next; None if nothing."""
        return self.starting or (self.pending[0][0] if self.pending else None)


class _Gateway:
    """Nodes, workers and tasks."""

    def __init__(self, connection: Connection, request: GatewayRequest) -> None:
        self._connection, self._request = connection, request
        self._nodes = NodeWatch(request, lambda line: connection.send(Note(line)))
        remote: Any = ray.remote  # its types do not know of concurrency groups
        self._actor = remote(num_cpus=1, concurrency_groups={_QUESTIONS: 1})(_Actor)
        self._arrivals: SimpleQueue[Task | None] = SimpleQueue()
        self._queue: deque[_Work] = deque()
        self._workers: list[_Worker] = []
        self._make_worker = ray.put(request.make_worker)
        """Once for all workers: it may hold the weights of a network."""
        self._capacity = 0

    def run(self) -> None:
        """Share out what comes; ends by EOFError."""
        threading.Thread(target=self._receive, daemon=True).start()
        while True:
            self._nodes.update()
            self._hire()
            self._take_arrivals()
            for worker in self._workers:
                self._fill(worker)
            for worker in self._wait():
                self._collect(worker)
            for worker in list(self._workers):
                if self._is_hung(worker):
                    self._dismiss(worker, is_hung=True)

    def _receive(self) -> None:
        """On a thread of its own: else both processes could wait for each other's full pipe."""
        with suppress(EOFError, ConnectionError):
            while True:
                self._arrivals.put(self._connection.recv())
        self._arrivals.put(None)

    def _take_arrivals(self) -> None:
        with suppress(Empty):
            while True:
                task = self._arrivals.get_nowait()
                if task is None:
                    raise EOFError
                self._queue.append(_Work(task))

    def _hire(self) -> None:
        """Start workers where there is room, and tell the main process how many tasks they can have."""
        most = self._request.most_workers
        for node, slots in self._nodes.slots():
            for _ in range(slots - sum(worker.node is node for worker in self._workers)):
                if most is None or len(self._workers) < most:
                    self._workers.append(self._start_worker(node))
        capacity = max(1, (_TASKS_PER_WORKER + _TASKS_IN_GATEWAY) * len(self._workers))
        if capacity != self._capacity:
            self._capacity = capacity
            self._connection.send(Capacity(capacity))

    def _start_worker(self, node: Node) -> _Worker:
        gpus = self._request.gpus if node.resources.get("GPU") else 0
        actor = self._actor.options(num_gpus=gpus, scheduling_strategy=node.place).remote()
        return _Worker(node, actor, actor.start.remote(self._make_worker))

    def _fill(self, worker: _Worker) -> None:
        """Give it as many tasks as it may have."""
        if worker.starting is not None:
            return
        if not worker.pending:
            worker.heard_s = time.monotonic()
        while self._queue and len(worker.pending) < _TASKS_PER_WORKER:
            work = self._queue.popleft()
            worker.pending.append((worker.actor.process.remote(work.task.content), work))

    def _wait(self) -> list[_Worker]:
        """The workers that have something to give, after a moment where none has."""
        busy = {worker.next_reference: worker for worker in self._workers if worker.next_reference}
        if not busy:
            time.sleep(_WAKE_S)
            return []
        ready, _ = ray.wait(list(busy), num_returns=1, timeout=_WAKE_S)
        if ready and len(busy) > 1:
            ready, _ = ray.wait(list(busy), num_returns=len(busy), timeout=0)
        return [busy[reference] for reference in ready]

    def _collect(self, worker: _Worker) -> None:
        """Take what a worker has to give, and send it on."""
        try:
            result, error = ray.get(worker.next_reference, timeout=_FETCH_S)
        except GetTimeoutError:
            return  # it lies on a node that is slow, or away: asked again
        except RayTaskError:
            raise  # a mistake of ours, with its traceback
        except RayError:
            self._dismiss(worker)
            return
        worker.heard_s = time.monotonic()
        if worker.starting is not None:
            self._note_start(worker, error)
            return
        if error:
            raise HandsimError(f"on node {worker.node.name}: {error}")
        _, work = worker.pending.popleft()
        self._connection.send(Done(work.task.number, result))

    def _note_start(self, worker: _Worker, error: str) -> None:
        worker.starting, worker.node.failed_starts = None, 0
        if error:
            self._workers.remove(worker)
            ray.kill(worker.actor)
            self._nodes.refuse(worker.node, f"on node {worker.node.name}: {error}")
        else:
            worker.node.has_worked = True

    def _is_hung(self, worker: _Worker) -> bool:
        """Whether it says so of its task, or has not answered that question for long."""
        now = time.monotonic()
        if worker.question is not None:
            ready, _ = ray.wait([worker.question], timeout=0)
            if not ready:
                return now - worker.asked_s > _ANSWER_S
            reference, worker.question = worker.question, None
            with suppress(RayError):  # it is dead; `_collect` sees that
                return bool(ray.get(reference))
        elif worker.pending and now - max(worker.heard_s, worker.asked_s) > self._request.ask_every_s:
            ask = worker.actor.is_hung.options(concurrency_group=_QUESTIONS)
            worker.question, worker.asked_s = ask.remote(), now
        return False

    def _dismiss(self, worker: _Worker, is_hung: bool = False) -> None:
        """Do without a worker that is dead or has hung: what it had goes to others."""
        ray.kill(worker.actor)
        self._workers.remove(worker)
        is_node_there = self._nodes.is_there(worker.node)
        if worker.starting is not None and is_node_there:
            worker.node.failed_starts += 1
            if worker.node.failed_starts == _STARTS:
                fault = f"workers die while starting on node {worker.node.name}; see Ray's logs there"
                self._nodes.refuse(worker.node, fault)
        works = [work for _, work in worker.pending]
        if works and is_node_there:
            works[0].tries += 1
            if is_hung or works[0].tries == self._request.tries:
                self._connection.send(TaskLost(works[0].task.number, is_hung))
                del works[0]
        self._queue.extendleft(reversed(works))

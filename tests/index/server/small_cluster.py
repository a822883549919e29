"""Three small servers that hold one replicated store, each a process of its own that may be killed."""

import multiprocessing
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from tests.index.server.small_node import NODES, PORTS, Node
from tests.index.server.small_server import free_ports


class SmallCluster:
    """Starts the nodes as processes, kills them with SIGKILL, and starts them again."""

    def __init__(self) -> None:
        # Forked from a process that has imported all that a node needs: one is back in a tenth of a second.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._processes: dict[int, tuple[Any, Connection]] = {}
        self._first_port = free_ports(PORTS * NODES)[0]

    def port(self, number: int) -> int:
        """Of the REST interface of a node; that of its gRPC interface is one above."""
        return self._first_port + PORTS * number

    def address(self, name: str = "hands") -> str:
        """Of an index, with all nodes."""
        nodes = ",".join(f"127.0.0.1:{self.port(number)}" for number in range(NODES))
        return f"http://{nodes}/{name}"

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

    def await_recovery(self, number: int) -> None:
        """Wait until a node that was started again has taken over what it missed."""
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
        connection.send("it has recovered")
    with suppress(EOFError):
        connection.recv()  # until it is killed, or the process of the tests ends

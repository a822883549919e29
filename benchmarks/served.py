"""Served queries through our calls against the bare client, on the same server, by turns.

    python -m benchmarks.served [--server URL] [--points 2000] [--hands 2048]

Prints JSON. ``--server`` names an index that is not there yet, and is dropped again. Without it the server is
a process of this machine that has its answers ready: all that is left to measure is the client's own work,
which a real server's search would hide. The bare client's requests are made beforehand and its answers thrown
away: the least it can take.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, Final

import numpy as np
from qdrant_client import QdrantClient, models

from benchmarks.clock import Clock
from benchmarks.video_poses import VideoPoses
from handsim.errors import HandsimError
from handsim.processes import available_cores
from index import IndexSettings, IndexVersion, open_catalog
from index.points import PoolPoints
from index.server.address import KEY_VARIABLE, ServerAddress
from tests.index.server.small_server import SmallServer

_BATCHES: Final = (64, 512)
"""Hands in one call; an `IndexVersion` sends at most 512 in a request."""
_ROUNDS: Final = 7
"""The median counts: in the first one the server makes its answers ready."""


class ReadyServer(SmallServer):
    """Answers every batch of queries with its answer to the first one of that size, and a repeated request
    for hands with its earlier answer: in the bytes of the wire, at no cost."""

    def __init__(self, is_ready: Event) -> None:
        super().__init__()
        self._is_ready = is_ready
        self._replies: dict[int | bytes, bytes] = {}

    def answer(self, name: str, request: Any) -> Any:
        is_search = name == "QueryBatch" or (name == "Get" and len(request.ids) > 1)
        if not is_search or not self._is_ready.is_set():
            return super().answer(name, request)
        key = len(request.query_points) if name == "QueryBatch" else request.SerializeToString()
        if key not in self._replies:
            self._replies[key] = super().answer(name, request).SerializeToString()
        return self._replies[key]


def serve_until(end: Event, is_ready: Event, address: Connection) -> None:
    """Send the address of a server, and end it with ``end``."""
    with ReadyServer(is_ready) as server:
        address.send(server.address)
        end.wait()


@contextmanager
def ready_server() -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a server in a process of its own, and what has it answer from what it has ready."""
    context = multiprocessing.get_context("spawn")
    end, is_ready = context.Event(), context.Event()
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_until, args=(end, is_ready, theirs))
    process.start()
    try:
        yield ours.recv(), is_ready.set
    finally:
        end.set()
        process.join()


def requests_of(version: IndexVersion, pool: VideoPoses, rows: slice) -> list[models.QueryRequest]:
    """The client's own requests for the nearest hand of another video."""
    videos = pool.videos.values(np.arange(len(pool))[rows])
    params = models.SearchParams(
        hnsw_ef=version.info.settings.ef, acorn=models.AcornSearchParams(enable=True, max_selectivity=1.0)
    )
    return [
        models.QueryRequest(
            query=vector,
            limit=1,
            filter=models.Filter(
                must_not=[models.FieldCondition(key="video", match=models.MatchValue(value=str(video)))]
            ),
            params=params,
        )
        for vector, video in zip(pool.vectors[rows].tolist(), videos, strict=True)
    ]


def measure(
    client: QdrantClient, collection: str, version: IndexVersion, pool: VideoPoses, hands: int, batch: int
) -> dict[str, float]:
    """Hands a second through each call, by turns, and what share of the bare client's rate that is."""
    parts = [slice(start, start + batch) for start in range(0, hands, batch)]
    requests = [requests_of(version, pool, part) for part in parts]
    videos = [pool.videos.values(np.arange(len(pool))[part]) for part in parts]
    hand_ids = [pool.hand_ids[part].tolist() for part in parts]
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: [client.query_batch_points(collection, one) for one in requests],
        "search": lambda: [
            version.search(pool.vectors[part], 1, not_videos=names)
            for part, names in zip(parts, videos, strict=True)
        ],
        "bare_hands": lambda: [
            (client.retrieve(collection, ids, with_vectors=True), client.query_batch_points(collection, one))
            for ids, one in zip(hand_ids, requests, strict=True)
        ],
        "search_hands": lambda: [
            version.search_hands(pool.hand_ids[part], 1, other_video=True) for part in parts
        ],
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            with Clock() as clock:
                way()
            rates[name].append(hands / clock.seconds)
            busy[name].append(clock.processor_seconds / hands * 1e6)
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    figures: dict[str, float] = {}
    for name, rate in medians.items():
        figures[f"{name}_per_second"] = round(rate)
        figures[f"{name}_us_of_a_core"] = round(float(np.median(busy[name])), 1)
    figures["search_ratio"] = round(medians["search"] / medians["bare"], 3)
    figures["search_hands_ratio"] = round(medians["search_hands"] / medians["bare_hands"], 3)
    return figures


def bare_client(place: ServerAddress) -> QdrantClient:
    """The client of the first node, as a program without handsim would open it."""
    node = place.nodes[0]
    return QdrantClient(
        url=node.url,
        grpc_port=node.grpc_port,
        prefer_grpc=True,
        api_key=os.environ.get(KEY_VARIABLE),
        timeout=60,
        check_compatibility=False,
    )


def measure_all(address: str, pool: VideoPoses, hands: int, begin: Callable[[], None]) -> dict[str, Any]:
    """Build an index at an address, measure, drop it; raises HandsimError for one that is there already."""
    place = ServerAddress.parse(address)
    with open_catalog(address) as catalog:
        if catalog.versions():
            raise HandsimError(f"there is an index at {catalog.address} already; name one that is not there")
        # Not verified: the small server compares every hand, one by one.
        name = catalog.write_version(PoolPoints(pool, pool.embedding), pool.embedding, IndexSettings())
        catalog.publish(name)
        begin()
        with catalog.current() as version, closing(bare_client(place)) as client:
            figures = {
                f"batches_of_{batch}": measure(client, f"{place.name}-{name}", version, pool, hands, batch)
                for batch in _BATCHES
            }
        catalog.drop()
    return figures


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", metavar="URL", help="an index that is not there yet")
    parser.add_argument("--points", type=int, default=2_000)
    parser.add_argument("--hands", type=int, default=2048, help="asked for")
    options = parser.parse_args()
    pool = VideoPoses.make(options.points, seed=0)
    if options.server:
        figures = measure_all(options.server, pool, options.hands, lambda: None)
    else:
        with ready_server() as (address, begin):
            figures = measure_all(address, pool, options.hands, begin)
    print(json.dumps({"points": options.points, "cores": available_cores(), **figures}, indent=1))


if __name__ == "__main__":
    main()

"""Ingest, encoding and mining on a Ray cluster with two workers: as without it, whatever dies."""

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.cluster import ClusterOptions
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.errors import UnavailableError
from handsim.ingest import IngestOptions, IngestReport, ingest
from handsim.ingest.plan import plan_ingest
from handsim.ingest.ray_workers import RayWorkerPool
from handsim.ingest.workers import DetectorFactory
from index import MinedPairs, MiningPolicy, mine, open_catalog
from tests.apps.commands import Capture, run_refused
from tests.handsim.builders import (
    CROP_PX,
    BrightnessDetector,
    make_no_detector,
    write_picture,
    write_picture_pool,
    write_pictures,
)
from tests.handsim.embedding.conftest import checkpoint, network  # noqa: F401  # fixtures
from tests.handsim.ingest.test_run import HangingDetector
from tests.index.builders import SMALL_GRAPH, write_pool

pytest.importorskip("ray", reason="Ray is needed: pip install 'handsim[cluster]'")
pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]
OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's least is 75 MB; containers have little shared memory."""


class LocalCluster:
    """Processes of this machine: a head that has two workers, and nodes that have one."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster()
        self.head = self.add_node(
            "head", num_cpus=2, temp_dir=folder, include_dashboard=False, include_log_monitor=False
        )
        self.options = ClusterOptions(self._cluster.address)
        self._orphans: list[psutil.Process] = []

    def add_node(self, name: str, **more: Any) -> Any:
        """Another node, whose Python finds this repository."""
        environment = {"PYTHONPATH": str(REPOSITORY)}
        return self._cluster.add_node(
            node_name=name, object_store_memory=OBJECT_STORE_BYTES, env_vars=environment, **more
        )

    def remove_node(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def wait_for_worker(self, node: Any) -> psutil.Process:
        """A worker of ours on a node, as soon as it has one."""
        [raylet] = node.all_processes["raylet"]
        while True:
            for process in psutil.Process(raylet.process.pid).children():
                with suppress(psutil.NoSuchProcess):
                    if process.name().startswith("ray::_Actor"):
                        return process
            time.sleep(0.05)

    def kill(self, process: str, node: Any) -> None:
        """SIGKILL to the ``raylet`` of a node, or to the ``gcs_server`` of the head."""
        [found] = node.all_processes[process]
        self._orphans += psutil.Process(found.process.pid).children()
        os.kill(found.process.pid, signal.SIGKILL)

    def shutdown(self) -> None:
        self._cluster.shutdown()
        for process in self._orphans:  # a node's agents look for a head that is gone for minutes
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    # Not below pytest's own folder: the paths of sockets have at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    previous = signal.getsignal(signal.SIGTERM)
    cluster = LocalCluster(folder)
    signal.signal(signal.SIGTERM, previous)  # Ray's own would end the tests' process
    try:
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def once(action: Callable[[], None]) -> Callable[[IngestReport], None]:
    """A progress that acts on the first report alone."""

    def progress(report: IngestReport) -> None:
        if report.done_now == 1:
            action()

    return progress


def assert_same_hands(one: Path, other: Path) -> None:
    pools = [Pool.open(path) for path in (one, other)]
    first, second = ([pool.hand(hand_id) for hand_id in np.sort(pool.hand_ids).tolist()] for pool in pools)
    assert first
    for hand, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(hand.keypoints, same.keypoints)
        assert (hand.hand_id, hand.file, hand.video) == (same.hand_id, same.file, same.video)
        assert pools[0].crop_jpeg(hand.hand_id) == pools[1].crop_jpeg(hand.hand_id)


def test_a_pool_is_the_same_as_without_it_after_ctrl_c_and_whatever_dies(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "photos", people=8)
    write_picture(folder / "p3" / "red.png", (255, 0, 0))  # kills the detector
    local, pool = tmp_path / "local", tmp_path / "pool"
    ingest([folder], local, BrightnessDetector, workers=1)

    def press_ctrl_c() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    stopped = ingest([folder], pool, BrightnessDetector, cluster=cluster.options, progress=once(press_ctrl_c))
    assert stopped.interrupted
    assert 0 < stopped.hands_in_pool < 32
    second, lines = cluster.add_node("second"), list[str]()

    def kill_worker_and_node() -> None:
        cluster.wait_for_worker(cluster.head).kill()
        cluster.wait_for_worker(second)
        cluster.kill("raylet", second)

    report = ingest(
        [folder],
        pool,
        BrightnessDetector,
        cluster=cluster.options,
        progress=once(kill_worker_and_node),
        say=lines.append,
    )
    cluster.remove_node(second)
    assert (report.hands_in_pool, report.done_before) == (32, stopped.done_now)
    assert [(skip.file, skip.reason) for skip in report.skipped] == [
        ("photos/p3/red.png", "crashed a worker")
    ]
    assert_same_hands(local, pool)


def test_a_picture_that_hangs_its_worker_is_named_and_the_others_go_on(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "photos", people=1, each=3)
    write_picture(folder / "p0" / "1.png", (255, 0, 0))
    items = plan_ingest([folder], IngestOptions()).files
    with RayWorkerPool(cluster.options, 1, HangingDetector, [folder], patience_s=1.0) as pool:
        results = [result for _, result in pool.run(iter(items))]
    assert sorted(len(result.hands) for result in results) == [0, 1, 1]
    [skip] = [skip for result in results for skip in result.skipped]
    assert (skip.file, skip.reason) == ("photos/p0/1.png", "took too long")


def test_a_node_that_is_not_fit_is_named(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pictures(tmp_path / "photos", people=1, each=1)
    metadata = tmp_path / "old" / "handsim-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: handsim\nVersion: 0.0.1\n")

    def workers(make_detector: DetectorFactory, *paths: Path) -> RayWorkerPool:
        return RayWorkerPool(cluster.options, 1, make_detector, paths)

    # All connect at once: that takes longest.
    with (
        workers(make_no_detector) as no_model,
        workers(BrightnessDetector, tmp_path / "elsewhere") as no_files,
    ):
        monkeypatch.syspath_prepend(tmp_path / "old")  # of this process alone, not of the node
        with workers(BrightnessDetector) as newer:
            for pool, fault in (
                (no_model, r"on node head: the hand model is not on this computer"),
                (no_files, r"node head cannot read .*/elsewhere; every node must"),
                (newer, r"node head has handsim [1-9.0]+, and this machine 0\.0\.1"),
            ):
                items = plan_ingest([folder], IngestOptions()).files
                with pytest.raises(HandsimError, match=fault):
                    list(pool.run(iter(items)))


def test_vectors_and_pairs_are_those_of_one_machine(
    cluster: LocalCluster,
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(40))
    options = ImageFitOptions(components=5, image_size_px=CROP_PX, device="cpu", batch=8)
    embeddings = []
    for number, where in enumerate((None, cluster.options)):
        path = tmp_path / f"{number}.json"
        embeddings.append(fit_image_embedding(pool, str(checkpoint), path, options, cluster=where))
        shutil.rmtree(tmp_path / "vectors")
    assert embeddings[0].to_json() == embeddings[1].to_json()

    hands = write_pool(tmp_path / "hands")
    with open_catalog(tmp_path / "index") as catalog:
        catalog.build(hands, PoseEmbedding.fit(hands), SMALL_GRAPH)
        with catalog.current() as version:
            here, there = (
                MinedPairs.concatenate(mine(version, hands.hand_ids, MiningPolicy(top_k=3), cluster=where))
                for where in (None, cluster.options)
            )
    np.testing.assert_array_equal(here.hand_ids, there.hand_ids)
    np.testing.assert_array_equal(here.positives, there.positives)
    np.testing.assert_array_equal(here.distances, there.distances)


def test_a_head_that_is_away_or_dies_is_told_and_loses_nothing(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder, pool = write_pictures(tmp_path / "photos", people=8), tmp_path / "pool"
    for address, fault in (
        ("127.0.0.1:1", "the Ray head at 127.0.0.1:1 does not answer"),
        ("me", "'me' is no"),
    ):
        error = run_refused(capsys, "ingest", folder, "--home", tmp_path / "home", "--ray", address)
        assert fault in error
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with RayWorkerPool(ClusterOptions(address), 1, BrightnessDetector, []) as workers:
            stop = iter([False, False, True])  # Ctrl-C a second later
            assert not list(workers.run(iter([None]), lambda: next(stop)))
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")

    def kill_all() -> None:
        cluster.kill("gcs_server", cluster.head)
        cluster.kill("raylet", cluster.head)
        [gateway] = multiprocessing.active_children()
        gateway.join()

    with pytest.raises(UnavailableError, match=r"the Ray cluster at .* was lost"):
        ingest([folder], pool, BrightnessDetector, cluster=cluster.options, progress=once(kill_all))
    found = len(Pool.open(pool))
    assert found
    report = ingest([folder], pool, BrightnessDetector, workers=1)
    assert (report.hands_in_pool, report.done_before) == (32, found)

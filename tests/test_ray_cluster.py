"""Ingest, encoding and mining on a Ray cluster of two nodes on this machine: as without it, whatever dies."""

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.cluster import ClusterOptions, ClusterWorkers
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.errors import UnavailableError
from handsim.ingest import IngestOptions, IngestReport, ingest
from handsim.ingest.plan import plan_ingest
from handsim.ingest.ray_workers import RayWorkerPool
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
    """Nodes of one core each, as processes of this machine."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        head = {"temp_dir": folder, "include_dashboard": False, **self._arguments("head")}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.second = self.add_node("second")
        self.options = ClusterOptions(self._cluster.address)

    def _arguments(self, name: str, path: str = "") -> dict[str, Any]:
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, [path, str(REPOSITORY)]))}
        return {
            "node_name": name,
            "num_cpus": 1,
            "object_store_memory": OBJECT_STORE_BYTES,
            "env_vars": environment,
        }

    def add_node(self, name: str, path: str = "") -> Any:
        """Another node, whose Python finds packages in ``path`` first."""
        return self._cluster.add_node(**self._arguments(name, path))

    def remove_node(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def kill(self, process: str, node: Any = None) -> None:
        """SIGKILL to the ``raylet`` of a node, or to the ``gcs_server`` of the head."""
        [found] = (node or self._cluster.head_node).all_processes[process]
        os.kill(found.process.pid, signal.SIGKILL)

    def shutdown(self) -> None:
        self._cluster.shutdown()


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


def test_a_pool_is_the_same_as_without_it_when_workers_are_killed(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "photos", people=8)
    write_picture(folder / "p3" / "red.png", (255, 0, 0))  # kills the detector
    ingest([folder], tmp_path / "local", BrightnessDetector, workers=1)

    def kill_worker() -> None:
        workers = [
            process
            for process in psutil.Process().children(recursive=True)
            if process.name().startswith("ray::_Actor")
        ]
        workers[0].kill()

    report = ingest(
        [folder], tmp_path / "pool", BrightnessDetector, cluster=cluster.options, progress=once(kill_worker)
    )
    assert report.hands_new == 32
    assert [(skip.file, skip.reason) for skip in report.skipped] == [
        ("photos/p3/red.png", "crashed a worker")
    ]
    assert_same_hands(tmp_path / "local", tmp_path / "pool")


def test_what_a_lost_node_had_is_done_elsewhere_and_ctrl_c_keeps_what_was_found(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "photos", people=8)
    stopped = ingest(
        [folder],
        tmp_path / "pool",
        BrightnessDetector,
        cluster=cluster.options,
        progress=once(lambda: os.kill(os.getpid(), signal.SIGINT)),
    )
    assert stopped.interrupted
    assert 0 < stopped.hands_in_pool < 32
    third, lines = cluster.add_node("third"), list[str]()
    report = ingest(
        [folder],
        tmp_path / "pool",
        BrightnessDetector,
        cluster=cluster.options,
        progress=once(lambda: cluster.kill("raylet", third)),
        say=lines.append,
    )
    cluster.remove_node(third)
    assert (report.hands_in_pool, report.done_before, report.skipped) == (32, stopped.done_now, [])
    assert Pool.open(tmp_path / "pool").has_crops.all()


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


def test_a_node_that_is_not_fit_is_named(cluster: LocalCluster, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", people=1, each=1)
    with pytest.raises(HandsimError, match=r"on node (head|second): the hand model is not on this computer"):
        ingest([folder], tmp_path / "pool", make_no_detector, cluster=cluster.options)
    with pytest.raises(HandsimError, match=r"node (head|second) cannot read .*/elsewhere; every node must"):
        ClusterWorkers(cluster.options, BrightnessDetector, paths=[tmp_path / "elsewhere"])  # type: ignore[arg-type]
    metadata = tmp_path / "old" / "handsim-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: handsim\nVersion: 0.0.1\n")
    old = cluster.add_node("third", str(tmp_path / "old"))
    with pytest.raises(HandsimError, match=r"node third has handsim 0\.0\.1, and this machine \d+\.\d+"):
        ingest([folder], tmp_path / "pool", BrightnessDetector, cluster=cluster.options)
    cluster.remove_node(old)


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
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")

    def kill_all() -> None:
        cluster.kill("gcs_server")
        cluster.kill("raylet")
        cluster.kill("raylet", cluster.second)
        [gateway] = multiprocessing.active_children()
        gateway.join()

    with pytest.raises(UnavailableError, match=r"the Ray cluster at .* was lost"):
        ingest([folder], pool, BrightnessDetector, cluster=cluster.options, progress=once(kill_all))
    found = len(Pool.open(pool))
    assert found
    report = ingest([folder], pool, BrightnessDetector, workers=1)
    assert (report.hands_in_pool, report.done_before) == (32, found)

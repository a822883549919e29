"""Making the map of a real index, in this process and as a job."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.browser.library import Library
from apps.browser.map import build
from apps.browser.map.build import JOB, make_map, start_job
from apps.browser.map.pose_map import find_map, maps_folder
from apps.browser.map.projection import PlaneProjection
from apps.browser.serve import BrowserSettings
from apps.cli import main
from handsim import Pool
from handsim.errors import HandsimError
from index import IndexVersion, open_catalog
from tests.apps.browser.builders import ReporterSpy, wait_for_job


class FirstTwo(PlaneProjection):
    """Places vectors at their first two numbers, so that a test can tell whether they lie right."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.places = vectors[:, :2]

    def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return vectors[:, :2]


def pairwise(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N, N] distances over the largest: the same however a map is rotated and scaled."""
    distances = np.linalg.norm(places[:, None].astype(np.float64) - places[None], axis=2)
    scaled: NDArray[np.float64] = distances / distances.max()
    return scaled


@pytest.fixture
def version(home: Path) -> IndexVersion:
    return open_catalog(home / "index").current()


@pytest.mark.parametrize(("max_fitted", "batch_bytes"), [(1000, 2**26), (25, 2**26), (25, 14 * 4 * 7)])
def test_every_hand_lies_in_its_place(
    version: IndexVersion, home: Path, max_fitted: int, batch_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(build, "_QUERIES_AT_ONCE", 11)
    pose_map = make_map(version, ReporterSpy(), project=FirstTwo, max_fitted=max_fitted)
    pool = Pool.open(home / "pool")
    assert pose_map.matches(version.info)
    assert pose_map.hand_ids.tolist() == sorted(pool.hand_ids.tolist())
    vectors = version.vectors(pose_map.hand_ids)
    np.testing.assert_allclose(pairwise(pose_map.places), pairwise(vectors[:, :2]), atol=1e-5)
    rows = pool.rows(pose_map.hand_ids)
    assert pose_map.videos.values() == pool.videos.values(rows)
    assert pose_map.sources.values() == pool.sources.values(rows)
    assert pose_map.labels.values() == pool.labels.values(rows)
    videos = np.array(pose_map.videos.values())
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    distances[videos[:, None] == videos[None]] = np.inf
    np.testing.assert_allclose(pose_map.distances, distances.min(axis=1), rtol=1e-4)


def test_of_a_large_index_a_random_part_is_mapped(version: IndexVersion) -> None:
    reporter = ReporterSpy()
    pose_map = make_map(version, reporter, project=FirstTwo, max_hands=33, max_fitted=10)
    assert (len(pose_map), pose_map.hands_in_version) == (33, 60)
    assert (np.diff(pose_map.hand_ids.astype(np.int64)) > 0).all()
    assert pose_map.videos.values() == [payload["video"] for payload in version.payloads(pose_map.hand_ids)]
    vectors = version.vectors(pose_map.hand_ids)
    np.testing.assert_allclose(pairwise(pose_map.places), pairwise(vectors[:, :2]), atol=1e-5)
    assert reporter.counts[-1] == (33, 33)
    assert reporter.phases == [
        "Reading the hands",
        "Fitting the map to 10 hands",
        "Placing hands and measuring distances",
    ]


def test_a_map_fills_the_unit_square(version: IndexVersion) -> None:
    pose_map = make_map(version, ReporterSpy(), max_fitted=20)
    assert pose_map.places.min() >= 0
    assert pose_map.places.max() <= 1
    assert np.ptp(pose_map.places, axis=0).max() == pytest.approx(1)
    across, down = pose_map.places.var(axis=0)
    assert across >= down


@pytest.mark.slow
def test_a_job_makes_a_map_and_removes_those_of_versions_that_are_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"  # of 20 hands, which need no UMAP; it takes long to import
    synth = ["synth", "--videos", "4", "--hands-per-video", "5", "--size", "64", "--home", str(home)]
    assert main(synth) == 0
    assert main(["index", "build", "--home", str(home)]) == 0
    library = Library(BrowserSettings(home, actions=False))  # a map changes no index
    with library.open_version() as version:
        info = version.info
    assert find_map(library, info) is None
    old = maps_folder(library.home) / "v0000-20-00000000.npz"
    old.parent.mkdir()
    old.write_bytes(b"of a version that is gone")
    start_job(library.jobs, library.settings, info.name)
    job = wait_for_job(library.jobs, JOB)
    assert (job.status, job.record.error) == ("done", None)
    assert job.record.result == {"version": "v0001", "hands": 20}
    pose_map = find_map(library, info)
    assert pose_map is not None
    assert pose_map.matches(info)
    assert len(pose_map) == 20
    assert not old.exists()
    elsewhere = BrowserSettings(home, str(home / "index"), actions=False)
    assert find_map(Library(elsewhere), info) is None
    start_job(library.jobs, elsewhere, info.name)
    assert wait_for_job(library.jobs, JOB).status == "done"
    assert find_map(Library(elsewhere), info) is not None
    assert find_map(library, info) is not None  # the job of another index leaves it alone
    start_job(library.jobs, library.settings, "v0007")
    failed = wait_for_job(library.jobs, JOB)
    assert failed.status == "failed"
    assert "v0007" in str(failed.record.error)


@pytest.mark.parametrize("folder", ["maps", "jobs"])
def test_an_error_names_the_file_in_the_way_and_no_other(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).write_text("in the way")
    library = Library(BrowserSettings(tmp_path))
    with pytest.raises(HandsimError, match=rf"the map cannot be made: File exists: {tmp_path / folder}"):
        start_job(library.jobs, library.settings, "v0001")

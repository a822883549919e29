"""Making the map of a real index: the projection, every hand in its place, and the job."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.browser.jobs import JobReporter, Jobs
from apps.browser.library import Library
from apps.browser.map import build
from apps.browser.map.build import JOB, make_map, start_job
from apps.browser.map.cache import find_map
from apps.browser.map.pose_map import maps_folder
from apps.browser.map.projection import PlaneProjection, fit_unit_square
from apps.browser.serve import BrowserSettings
from apps.cli import main
from handsim import Pool
from handsim.errors import HandsimError
from index import IndexVersion, open_catalog
from tests.apps.browser.builders import wait_for_job
from tests.index.builders import write_pool


class FirstTwo(PlaneProjection):
    """Places vectors at their first two numbers, so that a test can tell whether they lie right."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.places = vectors[:, :2]

    def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return vectors[:, :2]


def pairwise(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N, N] distances over the largest: the same however a map is rotated and scaled."""
    distances = np.linalg.norm(places[:, None].astype(np.float64) - places[None], axis=2)
    return np.asarray(distances / distances.max())


@pytest.fixture
def version(home: Path) -> IndexVersion:
    return open_catalog(home / "index").current()


@pytest.mark.parametrize(("max_fitted", "batch_bytes"), [(1000, 2**26), (25, 2**26), (25, 14 * 4 * 7)])
def test_every_hand_lies_in_its_place(
    version: IndexVersion,
    home: Path,
    tmp_path: Path,
    max_fitted: int,
    batch_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "_BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(build, "_QUERIES_AT_ONCE", 11)
    pose_map = make_map(version, JobReporter(tmp_path, JOB), project=FirstTwo, max_fitted=max_fitted)
    pool = Pool.open(home / "pool")
    assert pose_map.matches(version.info)
    assert np.ptp(pose_map.places, axis=0).max() == pytest.approx(1)
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


def test_of_a_large_index_a_random_part_is_mapped(version: IndexVersion, tmp_path: Path) -> None:
    reporter = JobReporter(tmp_path, JOB)
    pose_map = make_map(version, reporter, project=FirstTwo, max_hands=33, max_fitted=10)
    assert (len(pose_map), pose_map.hands_in_version) == (33, 60)
    assert (np.diff(pose_map.hand_ids.astype(np.int64)) > 0).all()
    assert pose_map.videos.values() == [payload["video"] for payload in version.payloads(pose_map.hand_ids)]
    vectors = version.vectors(pose_map.hand_ids)
    np.testing.assert_allclose(pairwise(pose_map.places), pairwise(vectors[:, :2]), atol=1e-5)
    record = wait_for_job(Jobs(tmp_path), JOB).record
    assert (record.done, record.total) == (33, 33)


def test_a_job_makes_a_map_and_removes_those_of_versions_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda by: by)  # it could not be taken back from this process
    write_pool(tmp_path / "pool", videos=2)  # so few hands that UMAP is not imported, which takes seconds
    assert main(["index", "build", "--home", str(tmp_path)]) == 0
    library = Library(BrowserSettings(tmp_path))
    library.jobs.folder.mkdir()
    info = library.catalog.current_info()
    assert find_map(library, info) is None
    old = maps_folder(library.home) / "v0000-20-00000000.npz"
    old.parent.mkdir()
    old.write_bytes(b"of a version that is gone")
    assert build.main(["v0001", "--home", str(tmp_path)]) == 0
    assert wait_for_job(library.jobs, JOB).record.result == {"version": "v0001", "hands": 30}
    pose_map = find_map(library, info)
    assert pose_map is not None
    assert (pose_map.matches(info), len(pose_map)) == (True, 30)
    assert not old.exists()
    address = str(tmp_path / "index")
    elsewhere = Library(BrowserSettings(tmp_path, address))
    assert find_map(elsewhere, info) is None
    assert build.main(["v0001", "--home", str(tmp_path), "--index", address]) == 0
    assert find_map(elsewhere, info) is not None
    assert find_map(library, info) is not None  # the job of another index leaves it alone
    assert build.main(["v0007", "--home", str(tmp_path)]) == 2
    assert "v0007" in (wait_for_job(library.jobs, JOB).record.error or "")


@pytest.mark.parametrize("folder", ["maps", "jobs"])
def test_an_error_names_the_file_in_the_way_and_no_other(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).write_text("in the way")
    library = Library(BrowserSettings(tmp_path))
    with pytest.raises(HandsimError, match=rf"the map cannot be made: File exists: {tmp_path / folder}"):
        start_job(library.jobs, library.settings, "v0001")


@pytest.mark.slow
def test_umap_keeps_neighbours_and_places_other_hands_among_them() -> None:
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 10, (4, 14))
    kinds = np.repeat(np.arange(4), 20)
    projection = PlaneProjection((centres[kinds] + rng.normal(0, 1, (80, 14))).astype(np.float32))
    assert projection.places.shape == (80, 2)
    others = (centres[kinds] + rng.normal(0, 1, (80, 14))).astype(np.float32)  # as many as it is fitted to
    fitted = projection.places.copy()
    for some in (others, others[:9]):
        places = projection.transform(some)
        distances = np.linalg.norm(places[:, None] - fitted[None], axis=2)
        assert (kinds[distances.argmin(axis=1)] == kinds[: len(some)]).all()
    np.testing.assert_array_equal(projection.places, fitted)
    np.testing.assert_array_equal(projection.transform(others[:9]), places)  # they are always the same


@pytest.mark.parametrize(("count", "dimension"), [(1, 14), (2, 14), (3, 1), (31, 2), (31, 64)])
def test_few_hands_lie_along_their_principal_axes(count: int, dimension: int) -> None:
    vectors = np.random.default_rng(1).normal(5, 1, (count, dimension)).astype(np.float32)
    projection = PlaneProjection(vectors)
    assert projection.places.shape == (count, 2)
    np.testing.assert_allclose(projection.transform(vectors), projection.places, atol=1e-5)
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    variance = float((projection.places**2).sum())
    assert variance == pytest.approx(float((singular[:2] ** 2).sum()), rel=1e-4, abs=1e-6)


def test_a_map_is_rotated_to_be_wide() -> None:
    along = np.linspace(-3, 3, 50)[:, None] * [1, 2] + np.linspace(0, 0.3, 50)[::-1, None] ** 2 * [2, -1]
    unit = fit_unit_square(along.astype(np.float32))
    assert np.ptp(unit[:, 0]) == pytest.approx(1)
    assert np.ptp(unit[:, 1]) < 0.1
    assert (unit.min(axis=0) + unit.max(axis=0)).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("places", [[[3, 4]], [[3, 4], [3, 4]], [[0, 0], [1e-30, 0]]])
def test_places_that_coincide_stay_within_the_square(places: list[list[float]]) -> None:
    unit = fit_unit_square(np.array(places, dtype=np.float32))
    assert ((unit >= 0) & (unit <= 1)).all()

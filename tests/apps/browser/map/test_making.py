"""Maps of a real index."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.browser.map import build as making
from apps.browser.map.build import Placer, make_map
from handsim import Pool
from index import IndexVersion, open_catalog
from tests.apps.browser.map.some_maps import Silence


class Shadow(Placer):
    """Lays hands where their first two numbers are, so that one can see whether they lie right."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.asked = [len(vectors)]
        self.fitted = vectors[:, :2]

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        self.asked.append(len(vectors))
        return vectors[:, :2]


def upright(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N, N] distances between places, over the largest: the same however a map is turned and scaled."""
    apart = np.linalg.norm(places[:, None].astype(np.float64) - places[None], axis=2)
    scaled: NDArray[np.float64] = apart / apart.max()
    return scaled


@pytest.fixture
def version(home: Path) -> IndexVersion:
    return open_catalog(home / "index").current()


def all_vectors(version: IndexVersion, hand_ids: NDArray[np.uint64]) -> NDArray[np.float32]:
    return version.vectors(hand_ids)


@pytest.mark.parametrize(("most_fitted", "batch_bytes"), [(1000, 2**26), (25, 2**26), (25, 14 * 4 * 7)])
def test_every_hand_lies_in_its_place(
    version: IndexVersion, home: Path, most_fitted: int, batch_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(making, "_SEARCHED", 11)
    made = make_map(version, Silence(), flatten=Shadow, most_fitted=most_fitted)
    pool = Pool.open(home / "pool")
    assert made.is_of(version.info)
    assert made.hand_ids.tolist() == sorted(pool.hand_ids.tolist())
    vectors = all_vectors(version, made.hand_ids)
    np.testing.assert_allclose(upright(made.places), upright(vectors[:, :2]), atol=1e-5)
    rows = pool.rows(made.hand_ids)
    assert made.videos.values() == pool.videos.values(rows)
    assert made.sources.values() == pool.sources.values(rows)
    assert made.labels.values() == pool.labels.values(rows)
    videos = np.array(made.videos.values())
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    apart[videos[:, None] == videos[None]] = np.inf
    np.testing.assert_allclose(made.distances, apart.min(axis=1), rtol=1e-4)


def test_a_part_of_a_large_index(version: IndexVersion) -> None:
    say = Silence()
    made = make_map(version, say, flatten=Shadow, most_hands=33, most_fitted=10)
    assert (len(made), made.hands_in_version) == (33, 60)
    assert (np.diff(made.hand_ids.astype(np.int64)) > 0).all()
    payloads = version.payloads(made.hand_ids)
    assert made.videos.values() == [payload["video"] for payload in payloads]
    vectors = all_vectors(version, made.hand_ids)
    np.testing.assert_allclose(upright(made.places), upright(vectors[:, :2]), atol=1e-5)
    assert say.counts[-1] == (33, 33)
    assert say.phases == [
        "Reading the hands",
        "Laying out 10 hands",
        "Placing hands and measuring to their neighbours",
    ]


def test_maps_fill_the_unit_square(version: IndexVersion) -> None:
    made = make_map(version, Silence(), most_fitted=20)
    assert made.places.min() >= 0
    assert made.places.max() <= 1
    assert np.ptp(made.places, axis=0).max() == pytest.approx(1)
    across, down = made.places.var(axis=0)
    assert across >= down

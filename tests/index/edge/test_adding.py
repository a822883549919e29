"""Hands added to an embedded index: a new version that starts as a copy."""

from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, Filter, IndexSettings, SearchOptions, open_catalog, verify
from tests.index.builders import SMALL_GRAPH, write_pool


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_hands_ingested_since(
    published: Catalog, small_pool: Pool, grown_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    base = Path(published.address) / "v0003"
    before = contents(base)
    calls: list[tuple[int, int]] = []
    added = published.add(grown_pool, progress=lambda done, total: calls.append((done, total)))
    assert (added.name, added.points, added.is_current) == ("v0004", 90, True)
    assert calls[-1] == (30, 30), "only those that are new"
    assert contents(base) == before
    assert published.info("v0003").points == 60
    new = np.setdiff1d(grown_pool.hand_ids, small_pool.hand_ids)
    with published.current() as version:
        assert version.embedding.fingerprint == small_embedding.fingerprint
        rows = grown_pool.rows(new)
        np.testing.assert_allclose(
            version.vectors(new), small_embedding.transform(grown_pool.keypoints[rows]), atol=1e-6
        )
        in_new_video = SearchOptions(filter=Filter(videos=("video 5",)), with_payload=True)
        found = version.search_hands(small_pool.hand_ids[:1], 20, options=in_new_video)
        assert found.is_found.sum() == 15
        sound = verify(version, read_all=True, pool_ids=grown_pool.hand_ids)
        assert (sound.problems(), sound.missing_from_index, sound.missing_from_pool) == ([], 0, 0)
    assert published.build(grown_pool, small_embedding).checksum == added.checksum


def test_nothing_new(published: Catalog, small_pool: Pool) -> None:
    before = published.info("v0003")
    assert published.add(small_pool) == before
    assert len(published.versions()) == 3


def test_a_version_keeps_its_own_embedding(
    published: Catalog, grown_pool: Pool, other_embedding: PoseEmbedding
) -> None:
    published.publish("v0002")
    added = published.add(grown_pool, publish=False)
    assert (added.name, added.points, added.dimension, added.is_current) == ("v0004", 90, 5, False)
    assert added.embedding_fingerprint == other_embedding.fingerprint
    assert published.current_name() == "v0002"


def test_what_cannot_be_added(published: Catalog, grown_pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"an embedded version never changes.*; leave --in-place out"):
        published.add(grown_pool, in_place=True)
    with pytest.raises(NotThereError, match="`handsim index build` makes one"):
        open_catalog(tmp_path / "nothing").add(grown_pool)
    assert len(published.versions()) == 3


@pytest.mark.parametrize(
    "settings", [SMALL_GRAPH, IndexSettings(m=8, index_above_kb=1, full_scan_below_kb=10)]
)
def test_a_graph_that_grew_finds_as_much(
    pool: Pool, embedding: PoseEmbedding, tmp_path: Path, settings: IndexSettings
) -> None:
    catalog = open_catalog(tmp_path / "index")
    catalog.build(pool, embedding, settings)
    grown = write_pool(tmp_path / "pool", videos=80)
    info = catalog.add(grown)
    assert info.settings == settings
    with catalog.current() as version:
        found = verify(version, sample=1200)
        assert (found.points, found.indexed_share, found.sample) == (1200, 1.0, 1200)
        assert found.recall_at_1 >= 0.99
        assert found.recall_at_10 >= 0.95

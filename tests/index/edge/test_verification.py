"""Whether a version is whole and finds what exact search finds, and what happens when it does not."""

from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from index import IndexSettings, Verification, open_catalog, verify
from tests.index.builders import SMALL_GRAPH, copy_index, write_pool

POOR_GRAPH = IndexSettings(m=2, ef_construct=4, ef=1, index_above_kb=1, full_scan_below_kb=10)


def test_a_sound_version(built: Path, pool: Pool) -> None:
    with open_catalog(built).current() as version:
        found = verify(version, read_all=True, pool_ids=pool.hand_ids)
        assert found.problems() == []
        assert (found.points, found.sample, found.indexed_share) == (900, 900, 1.0)
        assert found.recall_at_1 >= 0.99
        assert (found.duplicates, found.altered) == (0, False)
        assert (found.missing_from_index, found.missing_from_pool) == (0, 0)
        quick = verify(version, sample=50)
        assert quick.sample == 50
        assert (quick.duplicates, quick.altered, quick.missing_from_index) == (None, None, None)
        with pytest.raises(HandsimError, match="a random sample of 0 hands"):
            verify(version, sample=0)


def test_pool_and_version_differ(built: Path, pool: Pool) -> None:
    elsewhere = np.array([1, 2, 3], dtype=np.uint64)
    with open_catalog(built).current() as version:
        ids = np.concatenate([pool.hand_ids[2:], elsewhere])
        found = verify(version, sample=10, read_all=True, pool_ids=ids)
    assert (found.missing_from_index, found.missing_from_pool) == (3, 2)
    assert found.problems() == []


def test_altered_vectors_are_found(tmp_path: Path) -> None:
    # So many that the file of their vectors is too large to be checked whole on every opening.
    pool = write_pool(tmp_path / "pool", videos=90)
    catalog = open_catalog(tmp_path / "index")
    catalog.build(pool, PoseEmbedding.fit(pool), SMALL_GRAPH)
    file = max((tmp_path / "index" / "v0001").rglob("matrix.dat"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with catalog.current() as version:
        assert verify(version, sample=10).altered is None
        found = verify(version, sample=10, read_all=True)
    assert found.altered
    assert "ids or vectors are not those that were written; `handsim index build` again" in found.problems()


def test_a_poor_graph_is_kept_and_not_published(
    built: Path, pool: Pool, embedding: PoseEmbedding, tmp_path: Path
) -> None:
    catalog = open_catalog(copy_index(built, tmp_path / "index"))
    with pytest.raises(
        HandsimError,
        match=r"^v0002 is written but not published: recall@1 is 0\.\d{4}, below 0\.981; "
        r"`handsim index build` again with a larger --ef, --ef-construct or --m$",
    ):
        catalog.build(pool, embedding, POOR_GRAPH)
    first, poor = catalog.versions()
    assert (first.is_current, poor.is_current) == (True, False)
    assert poor.recall_at_1 is not None
    assert poor.recall_at_1 < 0.9
    with catalog.open("v0002") as version:
        found = verify(version)
    assert found.recall_at_1 < 0.9
    (problem,) = found.problems()
    assert problem.startswith("recall@1 is 0.")
    assert problem.endswith(
        "below 0.99; `handsim index build` again with a larger --ef, --ef-construct or --m"
    )
    # Whoever wants it all the same can have it, or look first.
    assert catalog.build(pool, embedding, POOR_GRAPH, publish=False).name == "v0003"
    catalog.publish("v0003")


def test_what_was_found_is_listed(built: Path, tmp_path: Path) -> None:
    catalog = open_catalog(copy_index(built, tmp_path / "index"))
    with catalog.current() as version:
        found = verify(version, sample=20)
    poorer = Verification(**{**vars(found), "recall_at_1": 0.5})
    catalog.record_verification("v0001", poorer)
    assert catalog.info("v0001").recall_at_1 == 0.5
    with pytest.raises(HandsimError, match="no version 'v0002'"):
        catalog.record_verification("v0002", found)

"""The number of candidates that reaches a target recall: measured, recorded, taken by who opens it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool
from handsim.embedding import PoseEmbedding
from index import IndexSettings, open_catalog, verify
from index.copy import copy_catalog
from index.ef_sweep import EFS, EfMeasurement, smallest_ef, sweep_ef
from index.exact import ExactIndex
from tests.index.builders import MemoryServer, SmallData

ONE_CANDIDATE = IndexSettings(m=16, ef_construct=64, ef=1, index_above_kb=1, full_scan_below_kb=10)
"""A sound graph, in which a query looks at one candidate unless another number is chosen."""


def test_a_build_takes_the_smallest_ef_that_reaches_the_recall_and_it_stays(
    pool: Pool, embedding: PoseEmbedding, qdrant: MemoryServer, tmp_path: Path
) -> None:
    catalog = open_catalog(tmp_path / "index")
    catalog.build(pool, embedding, ONE_CANDIDATE, recall=0.995)
    with catalog.current() as version:
        measured = [*sweep_ef(version, sample=900)]
        assert version.info.settings.ef == ONE_CANDIDATE.ef
    assert [one.ef for one in measured] == [*EFS]
    recalls = [one.recall_at_1 for one in measured]
    assert recalls[0] <= recalls[-1]
    assert all(one.hands_per_second > 0 for one in measured)
    best = smallest_ef(measured, 0.995)
    assert best is not None
    assert best.ef == version.default_ef
    with catalog.open("v0001") as version:
        again = verify(version)  # no wish: what was chosen stays
    assert again.ef == best.ef
    catalog.record_verification("v0001", again)
    with qdrant.catalog() as server:
        copy_catalog(catalog, server)
        with server.current() as copied:
            assert copied.default_ef == best.ef


def test_the_smallest_number_that_reaches_the_recall_is_chosen() -> None:
    measured = [
        EfMeasurement(ef, recall, recall, 1.0) for ef, recall in ((16, 0.9), (24, 0.996), (32, 0.999))
    ]
    assert smallest_ef(measured, 0.995) == measured[1]
    assert smallest_ef(measured, 1.0) is None


def test_a_verification_without_an_ef_leaves_that_of_the_settings(built: Path) -> None:
    with open_catalog(built).current() as version:
        assert version.default_ef == version.info.settings.ef


def test_a_build_that_cannot_reach_the_recall_is_not_published(
    pool: Pool, embedding: PoseEmbedding, tmp_path: Path
) -> None:
    catalog = open_catalog(tmp_path / "index")
    with pytest.raises(HandsimError, match="no ef up to 512 reaches recall@1 1; `handsim index build`"):
        catalog.build(pool, embedding, replace(ONE_CANDIDATE, m=2, ef_construct=4), recall=1.0)
    assert [info.is_current for info in catalog.versions()] == [False]


@pytest.mark.parametrize("recall", [0.5, 1.01, float("nan")])
def test_a_recall_that_no_index_should_have_is_refused(
    small: SmallData, tmp_path: Path, recall: float
) -> None:
    with pytest.raises(HandsimError, match=r"recall is .*; it lies between 0\.99 and 1"):
        open_catalog(tmp_path / "index").build(small.pool, small.embedding, recall=recall)


def test_what_filters_find_is_measured(pool: Pool, embedding: PoseEmbedding) -> None:
    found = verify(ExactIndex(pool, embedding), sample=900, read_all=True)
    assert found.min_score == pytest.approx(np.quantile(pool.scores, 0.7), abs=1e-6)
    counts = {label: pool.labels.values().count(label) for label in set(pool.labels.values()) - {None}}
    assert found.rare_label is not None
    assert counts[found.rare_label] == min(counts.values())
    assert (found.recall_at_min_score, found.recall_at_rare_label, found.ef) == (1.0, 1.0, None)

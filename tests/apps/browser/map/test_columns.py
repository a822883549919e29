"""The columns of a map's hands, the conditions they meet, and the groups that they lie in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.browser.map.columns import SEVERAL, MapColumns
from apps.browser.map.groups import find_groups
from apps.browser.map.pose_map import PoseMap
from handsim import Pool, PoolWriter
from handsim.pool.reader import Categorical
from index import Filter
from tests.apps.browser.builders import build_map
from tests.handsim.builders import make_hand
from tests.index.builders import write_pool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return write_pool(tmp_path / "pool", videos=6)


def build_map_of(pool: Pool, extra: int = 0) -> PoseMap:
    """A map of a pool's hands, and of others that the pool lacks."""
    hands = np.sort(np.concatenate([pool.hand_ids, np.arange(1, extra + 1, dtype=np.uint64)]))
    places = np.random.default_rng(0).uniform(0, 1, (len(hands), 2))
    videos, labels = [f"old {row}" for row in range(len(hands))], ["old"] * len(hands)
    return replace(build_map(places, videos=videos, labels=list(labels)), hand_ids=hands)


def test_columns_are_those_of_the_pool_and_of_other_hands_those_of_the_map(pool: Pool) -> None:
    columns = MapColumns.of(build_map_of(pool, extra=2), pool)
    assert columns.videos.values([0, 1]) == ["old 0", "old 1"]
    assert columns.labels.values([0, 1]) == ["old", "old"]
    assert columns.sides.values([0, 1]) == [None, None]
    assert np.isnan(columns.scores[:2]).all()
    rows = pool.rows(columns.hand_ids[2:])
    for mine, theirs in (
        (columns.sources, pool.sources),
        (columns.videos, pool.videos),
        (columns.labels, pool.labels),
        (columns.sides, pool.sides),
    ):
        assert mine.values(slice(2, None)) == theirs.values(rows)
    np.testing.assert_array_equal(columns.scores[2:], pool.scores[rows])
    np.testing.assert_array_equal(columns.tracks[2:], pool.tracks[rows])


def test_hands_meet_the_conditions_of_a_search(pool: Pool) -> None:
    columns = MapColumns.of(build_map_of(pool), pool)
    assert columns.meets(None).all()
    label = pool.labels.names[0]
    some = frozenset(columns.hand_ids[:20].tolist())
    conditions = Filter(sources=("ego4d",), labels=(label,), sides=("right",), min_score=0.25, hands=some)
    meeting = [
        source == "ego4d" and name == label and side == "right" and score >= 0.25 and hand in some
        for source, name, side, score, hand in zip(
            columns.sources.values(),
            columns.labels.values(),
            columns.sides.values(),
            columns.scores.tolist(),
            columns.hand_ids.tolist(),
            strict=True,
        )
    ]
    assert columns.meets(conditions).tolist() == meeting
    assert not columns.meets(Filter(labels=("nosuch",))).any()


def test_a_hand_is_of_the_list_it_is_on_or_of_several(pool: Pool) -> None:
    columns = MapColumns.of(build_map_of(pool), pool)
    hands = columns.hand_ids
    lists = columns.lists({"a": hands[:3], "b": hands[2:4]})
    assert lists.values([0, 1, 2, 3, 4]) == ["a", "a", SEVERAL, "b", None]


def test_groups_have_the_name_of_their_label_or_of_the_fingers_they_stretch(tmp_path: Path) -> None:
    """Three heaps of hands: one of a label, one of none with the index stretched, one that the pool lacks."""
    rng = np.random.default_rng(1)
    pointing = np.zeros((21, 3), dtype=np.float32)
    pointing[:, 1] = 0.2  # all joints but the index's tip are as far from the wrist
    pointing[0] = 0
    pointing[8, 1] = 0.6
    with PoolWriter(tmp_path / "pool") as writer:
        for number in range(40):
            writer.add(replace(make_hand(number), hand_id=number + 1, keypoints=pointing), None)
    pool = Pool.open(tmp_path / "pool")
    centres = np.repeat([[0.2, 0.2], [0.8, 0.3], [0.5, 0.9]], 20, axis=0)
    pose_map = replace(
        build_map(centres + rng.normal(0, 0.01, (60, 2))), hand_ids=np.arange(1, 61, dtype=np.uint64)
    )
    columns = MapColumns.of(pose_map, pool)
    labels = Categorical.of(["thumbs-up"] * 15 + [None] * 45)
    groups = find_groups(pose_map, replace(columns, labels=labels), pool)
    assert {group.name for group in groups} == {"thumbs-up", "index"}
    for group, centre in zip(
        sorted(groups, key=lambda each: each.name), ([0.8, 0.3], [0.2, 0.2]), strict=True
    ):
        assert np.linalg.norm(np.subtract(group.place, centre)) < 0.05
    assert find_groups(build_map(np.zeros((0, 2))), replace(columns), pool) == []

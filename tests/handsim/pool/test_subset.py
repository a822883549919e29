from pathlib import Path

import numpy as np
import pytest

from handsim import Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.pool.subset import write_subset
from tests.handsim.builders import add_hands, make_hand, make_jpeg

HANDS = 60
"""Of 12 videos, in parts of 8 hands: most videos begin in one part and end in the next."""


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    with PoolWriter(tmp_path / "whole", part_hands=8) as writer:
        for number in range(HANDS):
            writer.add(make_hand(number), None if number == 17 else make_jpeg(number))
    return tmp_path / "whole"


def _subset(whole: Path, hands: int) -> Pool:
    out = whole.parent / f"of {hands}"
    write_subset(whole, out, hands)
    return Pool.open(out)


def test_hands_are_the_same_ones(whole: Path) -> None:
    pool, some = Pool.open(whole), _subset(whole, 41)
    assert (len(some), some.crop_size_px) == (41, pool.crop_size_px)
    rows = pool.rows(some.hand_ids)
    np.testing.assert_array_equal(some.keypoints, pool.keypoints[rows])
    np.testing.assert_array_equal(some.frames, pool.frames[rows])
    np.testing.assert_array_equal(some.has_crops, pool.has_crops[rows])
    assert some.videos.values() == pool.videos.values(rows)
    for hand_id in some.hand_ids[some.has_crops].tolist():
        assert some.crop_jpeg(hand_id) == pool.crop_jpeg(hand_id)
        assert some.hand(hand_id).file == pool.hand(hand_id).file
    assert {path.name for path in whole.parent.iterdir()} == {"whole", "of 41"}


def test_whole_videos_and_smaller_within_larger_ones(whole: Path) -> None:
    known: set[int] = set()
    for hands in (1, 4, 5, 23, 24, 50, HANDS):
        some = _subset(whole, hands)
        ids = {*some.hand_ids.tolist()}
        assert len(ids) == hands
        assert known < ids
        known = ids
        per_video = np.bincount(some.videos.codes)
        assert sorted(per_video)[1:] == [5] * (len(per_video) - 1)  # all but the last one
        assert per_video.sum() == hands


def test_the_order_of_writing_plays_no_part(whole: Path) -> None:
    other = add_hands(whole.parent / "other", reversed(range(HANDS)), crops=False, part_hands=50)
    first = _subset(whole, 33)
    write_subset(other, whole.parent / "of other", 33)
    assert {*Pool.open(whole.parent / "of other").hand_ids.tolist()} == {*first.hand_ids.tolist()}


def test_a_subset_can_be_added_to(whole: Path) -> None:
    some = _subset(whole, 20)
    assert len(Pool.open(add_hands(some.path, range(HANDS)))) == HANDS
    assert len(Pool.open(whole)) == HANDS


def test_what_a_killed_one_left_is_cleared_away(whole: Path) -> None:
    left = whole.parent / ".of 5.writing" / "parts" / "000099"
    left.mkdir(parents=True)
    assert len(_subset(whole, 5)) == 5
    assert not left.exists()


@pytest.mark.parametrize("hands", [0, -1, HANDS + 1])
def test_more_or_fewer_hands_than_there_are_are_refused(whole: Path, hands: int) -> None:
    with pytest.raises(HandsimError, match=rf"{hands} hands cannot be taken of .*whole; it holds 60"):
        _subset(whole, hands)
    assert not (whole.parent / f"of {hands}").exists()


def test_a_place_that_is_taken_and_a_pool_that_is_not_there_are_refused(whole: Path) -> None:
    with pytest.raises(HandsimError, match="whole is there already; give another place"):
        write_subset(whole, whole, 3)
    with pytest.raises(NotThereError, match="there is no pool at"):
        write_subset(whole.parent / "none", whole.parent / "out", 3)

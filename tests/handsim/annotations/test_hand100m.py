"""Hand100M: the authors' crops, and their ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import Pool, PoolWriter
from handsim.annotations import AnnotatedHand, BadAnnotation
from handsim.annotations.hand100m import points_in_picture
from handsim.geometry import CROP_SIZE_PX
from handsim.images import encode_jpeg
from handsim.ingest import IngestOptions, ingest
from index import MinedPairs
from index.hand100m import write_hand100m
from tests.handsim.annotations.builders import read, write_hands
from tests.handsim.builders import kill_own_process, make_hand, picture


@given(
    st.tuples(st.integers(-20, 60), st.integers(-20, 60), st.integers(8, 90), st.integers(8, 90)),
    st.integers(0, 2**32 - 1),
)
def test_keypoints_stay_on_their_pixels_even_at_the_border(box: tuple[int, int, int, int], seed: int) -> None:
    """Forward as the authors do it (enlarge, round down, clip, stretch), then back through ours."""
    width, height = 100, 80
    x, y, w, h = box
    length = np.floor(max(w, h) * 1.3)
    centre = np.array([x + w / 2, y + h / 2])
    low = np.clip(centre - length / 2, 0, [width, height])
    high = np.clip(centre + length / 2, 0, [width, height])
    if (high - low).min() < 1:
        return
    in_picture = low + np.random.default_rng(seed).random((21, 2)) * (high - low)
    theirs = np.concatenate([(in_picture - low) / (high - low), np.zeros((21, 1))], axis=1)
    back = points_in_picture(theirs, (x, y, x + w, y + h), (width, height))
    np.testing.assert_allclose(back[:, :2], in_picture, atol=1e-9)


@pytest.mark.parametrize("hand_id", [101, "101", 101.0])
def test_ids_are_the_same_as_numbers_and_as_texts(tmp_path: Path, hand_id: Any) -> None:
    hand = read(write_hands("hand100m", tmp_path / "a.json", hand_id=hand_id, positive_sample=[102, "x7"]))[1]
    assert isinstance(hand, AnnotatedHand)
    assert (hand.external_id, hand.positives) == ("101", ("102", "x7"))


@pytest.mark.slow
def test_what_we_export_comes_back_unchanged(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        for number in range(6):
            writer.add(make_hand(number), encode_jpeg(picture(number, CROP_SIZE_PX)))
    pool = Pool.open(tmp_path / "pool")
    ids = pool.hand_ids
    mined = MinedPairs(ids, np.roll(ids, -1)[:, None], np.full((len(ids), 1), 0.25, np.float32))
    (tmp_path / "crops").mkdir()
    for hand_id in ids.tolist():
        (tmp_path / "crops" / f"{hand_id:016x}.jpg").write_bytes(pool.crop_jpeg(hand_id))
    path = tmp_path / "pairs.json"
    assert write_hand100m(path, pool, [mined]) == len(ids)
    records = json.loads(path.read_text())["annotations"]
    assert [int(record["hand_id"]) for record in records] == ids.tolist(), "decimal, in the pool's order"
    options = IngestOptions(images=tmp_path / "crops")
    PoolWriter(tmp_path / "again").close()  # of SiMHand's crops, which are exported
    ingest([path], tmp_path / "again", kill_own_process, options, workers=1)
    again = Pool.open(tmp_path / "again")
    assert sorted(again.hand_ids.tolist()) == sorted(ids.tolist())
    rows = again.rows(ids)
    np.testing.assert_allclose(again.keypoints[rows], pool.keypoints, atol=1e-5)
    np.testing.assert_array_equal(again.is_left[rows], pool.is_left)
    np.testing.assert_array_equal(again.frames[rows], pool.frames)
    np.testing.assert_allclose(again.scores[rows], pool.scores, atol=1e-6)
    for column in ("videos", "sources", "labels"):
        assert getattr(again, column).values(rows) == getattr(pool, column).values()
    assert [again.crop_jpeg(hand) for hand in ids.tolist()] == [pool.crop_jpeg(hand) for hand in ids.tolist()]


@pytest.mark.parametrize(
    ("field", "value"), [("hand_id", "x7"), ("handsim_frame", "0"), ("keypoint_25d", [0.5])]
)
def test_a_hand_of_ours_that_was_altered_is_told(tmp_path: Path, field: str, value: Any) -> None:
    own = {"source": "s", "video": "v", "frame": 0, "side": "left", "score": 1.0, "label": None}
    altered = {**{f"handsim_{name}": known for name, known in own.items()}, field: value}
    hand = read(write_hands("hand100m", tmp_path / "a.json", **altered))[1]
    assert isinstance(hand, BadAnnotation)
    assert hand.reason == "bad annotation"

"""Hand100M: the authors' crops, and their ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import Pool
from handsim.annotations import AnnotatedHand
from handsim.annotations.hand100m import points_in_picture
from handsim.ingest import IngestOptions, ingest
from index import MinedPairs
from index.hand100m import write_hand100m
from tests.handsim.annotations import builders
from tests.handsim.annotations.builders import read, write_hands
from tests.handsim.builders import BrightnessDetector, write_pictures


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
    ingest([write_pictures(tmp_path / "signs")], tmp_path / "pool", BrightnessDetector, workers=1)
    pool = Pool.open(tmp_path / "pool")
    ids = pool.hand_ids
    mined = MinedPairs(ids, np.roll(ids, -1)[:, None], np.full((len(ids), 1), 0.25, np.float32))
    (tmp_path / "crops").mkdir()
    for hand_id in ids.tolist():
        (tmp_path / "crops" / f"{hand_id:016x}.jpg").write_bytes(pool.crop_jpeg(hand_id))
    path = tmp_path / "pairs.json"
    assert write_hand100m(path, pool, [mined]) == len(ids)
    written = [record["hand_id"] for record in json.loads(path.read_text())["annotations"]]
    ingest(
        [path], tmp_path / "again", BrightnessDetector, IngestOptions(images=tmp_path / "crops"), workers=1
    )
    again = Pool.open(tmp_path / "again")
    hands = {hand.external_id: hand for hand in map(again.hand, again.hand_ids.tolist())}
    for place, external_id in enumerate(written):
        hand = hands[external_id]
        np.testing.assert_allclose(hand.keypoints, pool.keypoints[place], atol=0.5 / 224)
        assert hand.external_positives == (written[(place + 1) % len(ids)],)
        crops = again.crop(hand.hand_id).astype(int), pool.crop(int(ids[place]))
        assert np.abs(crops[0] - crops[1]).mean() < 3
    assert len(hands) == len(written) >= builders.COUNT

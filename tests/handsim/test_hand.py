import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim.errors import HandsimError
from handsim.hand import MAX_HAND_ID, format_hand_id, make_hand_id, parse_hand_id
from tests.handsim.builders import make_hand


@given(st.integers(0, MAX_HAND_ID))
def test_ids_round_trip_through_16_hex_digits(hand_id: int) -> None:
    text = format_hand_id(hand_id)
    assert len(text) == 16
    assert parse_hand_id(text) == hand_id


@pytest.mark.parametrize(
    "text", ["", "7", "xyz", "ffffffffffffffff", "0x00000000000001", "0000_00000000000", "00000000000000001"]
)
def test_other_texts_are_not_ids(text: str) -> None:
    with pytest.raises(HandsimError, match="16 hex digits"):
        parse_hand_id(text)


def test_ids_are_stable_and_depend_on_every_part() -> None:
    first = make_hand_id("ego4d", "v1", 30, 0)
    assert first == 0x70B94D75BD3B1717  # pools on disk hold it: it must never change
    others = {
        make_hand_id("100doh", "v1", 30, 0),
        make_hand_id("ego4d", "v2", 30, 0),
        make_hand_id("ego4d", "v1", 60, 0),
        make_hand_id("ego4d", "v1", 30, 1),
        make_hand_id("ego4d", "v1", 30, 0, "digest"),
    }
    assert len(others | {first}) == 6


def test_wrong_fields_are_named() -> None:
    with pytest.raises(HandsimError, match="side 'up'"):
        make_hand(7, side="up")
    with pytest.raises(HandsimError, match=r"\[20, 3\]"):
        make_hand(7, keypoints=np.zeros((20, 3), np.float32))
    keypoints = np.zeros((21, 3), np.float32)
    keypoints[4, 1] = np.nan
    with pytest.raises(HandsimError, match="joint 4"):
        make_hand(7, keypoints=keypoints)
    with pytest.raises(HandsimError, match="2\\^63"):
        make_hand(7, hand_id=2**63)

import re
from typing import Any

import pytest

from handsim import HandsimError
from index import MiningPolicy
from training.pairs import PairSettings

BAND: dict[str, Any] = {"negatives_per_anchor": 2, "negative_min_distance": 0.5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"positives": "neighbors"}, "positives is 'neighbors'; it is one of neighbours, temporal, own"),
        ({"ef": 0}, "ef is 0; it is at least 1"),
        ({"window_frames": 0}, "window_frames is 0; it is at least 1"),
        ({"negatives_per_anchor": -1}, "negatives_per_anchor is -1; it is at least 0"),
        ({"prefetch": 0}, "prefetch is 0; it is at least 1"),
        ({"patience_s": -1.0}, "patience_s is -1.0"),
        ({"patience_s": float("inf")}, "patience_s is inf"),
        ({"negatives_per_anchor": 1}, "negative_min_distance is 0.0; with negatives it is above 0"),
        ({**BAND, "negative_min_distance": float("nan")}, "negative_min_distance is nan"),
        ({**BAND, "negative_max_distance": 0.5}, "negative_max_distance is 0.5; the band begins at 0.5"),
        ({**BAND, "negative_top_k": 1}, "negative_top_k is 1; 2 negatives are drawn among at least as many"),
        ({"positives": "own", "pin_version": "v0001"}, "pin_version is 'v0001', but positives is 'own'"),
        (
            {"positives": "temporal", "table": "t.parquet"},
            "table is 't.parquet', but positives is 'temporal'",
        ),
        ({"positives": "own", **BAND}, "negatives_per_anchor is 2, but positives is 'own'"),
        (
            {"table": "t.parquet", **BAND},
            "negatives_per_anchor is 2, but a table of mined pairs needs no index",
        ),
        ({"table": "t.parquet", "pin_version": "current"}, "pin_version is 'current', but a table"),
    ],
)
def test_settings_that_cannot_be_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=rf"^{re.escape(message)}[^\n]*$"):
        PairSettings(**values)


def test_settings_that_go_together_are_accepted() -> None:
    assert PairSettings() == PairSettings(positives="neighbours", policy=MiningPolicy())
    PairSettings(**BAND, negative_max_distance=0.6, pin_version="current", patience_s=0.0)
    PairSettings(table="t.parquet", policy=MiningPolicy(top_k=3))
    PairSettings(positives="temporal", window_frames=1)

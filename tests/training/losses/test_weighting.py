import math
from typing import Any

import pytest

from handsim.errors import HandsimError
from training.losses import Weighting


@pytest.mark.parametrize(
    ("pairs", "positives", "negatives"),
    [("none", False, False), ("positives", True, False), ("negatives", False, True), ("both", True, True)],
)
def test_what_is_weighted(pairs: Any, positives: bool, negatives: bool) -> None:
    assert (Weighting(pairs).weights_positives, Weighting(pairs).weights_negatives) == (positives, negatives)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"pairs": "all"}, "pairs is 'all'; it is one of none, positives, negatives, both"),
        ({"form": "cubic"}, "form is 'cubic'; it is one of linear, sigmoid"),
        ({"distance": "l2"}, "distance is 'l2'; it is one of mpjpe, w_abs, w_o_abs"),
        ({"lambda_positive": -1.0}, "lambda_positive is -1.0; it is a number of at least 0"),
        ({"lambda_negative": math.nan}, "lambda_negative is nan; it is a number of at least 0"),
    ],
)
def test_settings_out_of_bounds(setting: dict[str, Any], told: str) -> None:
    with pytest.raises(HandsimError, match=told):
        Weighting(**setting)

import pytest

from apps.browser.training.runs import as_count, as_number, as_text


@pytest.mark.parametrize(
    ("value", "number", "count"),
    [
        (3, 3.0, 3),
        (0, 0.0, 0),
        (-3, -3.0, None),
        (2.5, 2.5, None),
        (2**63 - 1, float(2**63), 2**63 - 1),
        (2**70, float(2**70), None),
        (10**400, None, None),
        (float("nan"), None, None),
        (float("-inf"), None, None),
        (True, None, None),
        ("3", None, None),
        (None, None, None),
        ([3], None, None),
    ],
)
def test_what_is_something_else_is_none(value: object, number: float | None, count: int | None) -> None:
    assert as_number(value) == number
    assert as_count(value) == count
    assert as_text(value) == ("3" if value == "3" else None)

"""The search page, as a visitor meets it."""

from pathlib import Path

from tests.apps.browser.conftest import Visit
from tests.apps.talk import some_hand


def test_it_begins_with_some_hands(visit: Visit, home: Path) -> None:
    page = visit(home)
    assert not page.exception
    assert "Some of **60** hands" in page.markdown[0].value


def test_an_address_is_a_question(visit: Visit, home: Path) -> None:
    page = visit(home, hand=some_hand(home), k="7")
    assert not page.exception
    assert "**7 hands**" in page.markdown[0].value
    assert page.slider[0].value == 7

"""What all who look share."""

from pathlib import Path

from apps.browser.library import Library
from apps.browser.settings import BrowserSettings
from tests.apps.browser.versions.some_versions import more_hands


def test_the_pool_is_opened_anew_where_hands_were_added_and_only_then(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    pool = library.pool()
    assert library.pool() is pool
    more_hands(own_home, 10)
    assert len(library.pool()) == 70
    assert library.pool() is library.pool()

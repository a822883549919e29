"""What the server does before anybody looks."""

from pathlib import Path

from apps.browser.entry.server import open_home
from apps.browser.library import get_library
from apps.browser.serve import BrowserSettings


def test_the_home_is_opened_before_anybody_looks(own_home: Path) -> None:
    settings = BrowserSettings(own_home)
    open_home(settings)
    for hands in own_home.glob("pool/parts/*/hands.parquet"):
        hands.write_bytes(b"")  # so that it can be opened no more
    assert len(get_library(settings).open_pool()) == 60


def test_a_home_with_nothing_in_it_is_left_to_the_pages(tmp_path: Path) -> None:
    open_home(BrowserSettings(tmp_path))

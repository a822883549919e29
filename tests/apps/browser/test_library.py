"""What all who look share."""

from pathlib import Path

from apps.browser.library import Library
from apps.browser.serve import BrowserSettings
from tests.apps.browser.versions.some_versions import more_hands


def test_the_pool_is_opened_anew_where_hands_were_added_and_only_then(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    pool = library.open_pool()
    assert library.open_pool() is pool
    more_hands(own_home, 10)
    assert len(library.open_pool()) == 70
    assert library.open_pool() is library.open_pool()


def test_a_command_line_names_the_home_as_a_shell_reads_it(tmp_path: Path) -> None:
    library = Library(BrowserSettings(tmp_path / "my hands"))
    assert library.format_command("index build") == f"handsim --home '{tmp_path}/my hands' index build"

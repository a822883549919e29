"""Search: hands posed like a hand, a picture or a drawing."""

from apps.browser.library import Library
from apps.browser.search.results import results
from apps.browser.search.start import start


def search(library: Library) -> None:
    """Ways to begin above, below them what the address asks and its answers."""
    start(library)
    results(library)

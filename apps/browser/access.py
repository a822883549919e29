"""Who may change the home: asked where it is changed, whatever a page offered."""

from typing import Final

from apps.browser.library import Library
from handsim.errors import HandsimError

READ_ONLY: Final = (
    "This browser is read-only: it was started with --read-only, or where other computers reach it, without "
    "--allow-actions"
)


def find_refusal(library: Library) -> str | None:
    """Why this visitor may not change the home, in a sentence without its full stop; None: they may."""
    return None if library.settings.actions else READ_ONLY


def check_may_manage(library: Library) -> None:
    """Raise HandsimError for a visitor who may only look."""
    if refusal := find_refusal(library):
        raise HandsimError(refusal)

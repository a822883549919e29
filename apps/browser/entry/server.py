"""What serves the browser: ``streamlit run apps/browser/entry/server.py -- --home DIR``.

Streamlit runs its script for visitors only. The first of them should not wait while half a million hands are
opened, so they are opened as soon as there is a server.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from threading import Thread
from typing import Final

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from apps.browser.serve import BrowserSettings
from handsim.errors import HandsimError


def open_home(settings: BrowserSettings) -> None:
    """Bring in the pages and open what they show; what is not there or away is left to them to tell."""
    # Here, and not above: what the pages import takes as long as the hands do.
    import apps.browser.entry.app  # noqa: F401
    from apps.browser.library import get_library

    with suppress(HandsimError):
        get_library(settings).open_all()


@asynccontextmanager
async def _opening(_: st.App) -> AsyncIterator[None]:
    """Open the home beside the server, which answers meanwhile."""
    settings = BrowserSettings.from_arguments(sys.argv[1:])
    Thread(target=open_home, args=(settings,), daemon=True).start()
    yield


_STARTED: Final = token_hex(8)


async def _started(_: Request) -> PlainTextResponse:
    """Which server this is: pages that another one drew load themselves anew (restarted.js)."""
    return PlainTextResponse(_STARTED)


app = st.App(Path(__file__).with_name("app.py"), lifespan=_opening, routes=[Route("/started", _started)])

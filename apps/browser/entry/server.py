"""The server around the pages: ``streamlit run apps/browser/entry/server.py -- --home DIR``.

It is not part of app.py: Streamlit imports this file once, but runs app.py again for each change of a page.

Streamlit runs its script only for visitors. The pool and the index are opened as soon as the server starts,
so that the first visitor does not wait for them.
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

_SERVER_ID: Final = token_hex(8)


def open_home(settings: BrowserSettings) -> None:
    """Import the pages and open the home. The pages report what is absent or does not answer."""
    # Not imported above: these imports take as long as opening the pool does.
    import apps.browser.entry.app  # noqa: F401
    from apps.browser.library import get_library

    with suppress(HandsimError):
        get_library(settings).open_all()


@asynccontextmanager
async def _lifespan(_: st.App) -> AsyncIterator[None]:
    """Open the home in a thread; the server answers meanwhile."""
    settings = BrowserSettings.from_arguments(sys.argv[1:])
    Thread(target=open_home, args=(settings,), daemon=True).start()
    yield


async def _answer_server_id(_: Request) -> PlainTextResponse:
    """Which server this is; pages of another one reload themselves (reload.js)."""
    return PlainTextResponse(_SERVER_ID)


_BASE: Final = st.get_option("server.baseUrlPath").strip("/")
app = st.App(
    Path(__file__).with_name("app.py"),
    lifespan=_lifespan,
    routes=[Route(f"/{_BASE}/started".replace("//", "/"), _answer_server_id)],
)

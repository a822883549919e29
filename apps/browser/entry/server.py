"""The server around the pages: ``streamlit run apps/browser/entry/server.py -- --home DIR``.

It is not part of app.py: Streamlit imports this file once, but runs app.py again for each change of a page.

Streamlit runs its script only for visitors. The pool and the index are opened as soon as the server starts,
so that the first visitor does not wait for them.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from threading import Thread
from typing import Final

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from apps.browser.serve import BrowserSettings, open_home
from apps.browser.sign_in import read_sign_in
from handsim.home import Home

_SERVER_ID: Final = token_hex(8)


@asynccontextmanager
async def _lifespan(_: st.App) -> AsyncIterator[None]:
    """Open the home in a thread; the server answers meanwhile."""
    Thread(target=open_home, args=(_SETTINGS,), daemon=True).start()
    yield


async def _answer_server_id(_: Request) -> PlainTextResponse:
    """Which server this is; pages of another one reload themselves (reload.js)."""
    return PlainTextResponse(_SERVER_ID)


_SETTINGS: Final = BrowserSettings.from_arguments(sys.argv[1:])
_BASE: Final = st.get_option("server.baseUrlPath").strip("/")
_SIGN_IN: Final = read_sign_in(Home(_SETTINGS.home))
app = st.App(
    Path(__file__).with_name("app.py"),
    lifespan=_lifespan,
    secrets=None if _SIGN_IN is None else _SIGN_IN.make_secrets(_BASE, st.get_option("server.port")),
    routes=[Route(f"/{_BASE}/started".replace("//", "/"), _answer_server_id)],
)

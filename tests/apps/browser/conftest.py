"""The browser on a small home, drawn without a web browser."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import apps.browser.entry.app
from apps.browser.library import Library
from apps.browser.serve import BrowserSettings

_APP = Path(apps.browser.entry.app.__file__)


class Visitor(AppTest):
    """An exception that a page shows fails the test."""

    def _run(self, *arguments: Any, **options: Any) -> AppTest:
        page = super()._run(*arguments, **options)
        assert not page.exception
        return page


Visit = Callable[..., AppTest]
"""Opens a page of a home: ``visit(home, page="map", hand="03ab...")``; the other names are the address's."""


def address(page: AppTest) -> dict[str, str]:
    """The address's parameters; a value comes as a text or as a list of one."""
    return {name: "".join(value) for name, value in page.query_params.items()}


def press(page: AppTest, label: str) -> None:
    next(button for button in page.button if button.label == label).click().run()


def read_heading(page: AppTest, key: str) -> str:
    """The text of a `heading`."""
    shown = [json.loads(each.proto.json or "{}") for each in page.get("bidi_component")]
    (text,) = (data["text"] for data in shown if data.get("name") == key)
    return str(text)


@pytest.fixture(autouse=True)
def _restore_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit replaces the main module by its script, and spawned processes run that one."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def library(home: Path) -> Library:
    return Library(BrowserSettings(home))


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Visit]:
    """A visitor of a home, in a session of its own and without the caches of earlier tests."""
    st.cache_resource.clear()

    def open_page(
        home: Path,
        page: str = "",
        *,
        index: str | None = None,
        actions: bool = True,
        user: Mapping[str, Any] | None = None,
        **address: str | list[str],
    ) -> AppTest:
        settings = BrowserSettings(home, index, actions=actions)
        monkeypatch.setattr(sys, "argv", [str(_APP), *settings.to_arguments()])
        visitor = Visitor(_APP, default_timeout=60)
        if user is not None:  # who signed in
            visitor.user = dict(user)
        for name, value in address.items():  # several values of a name as a list
            visitor.query_params[name] = value
        if page:
            visitor._page_hash = calc_hash(page)  # AppTest.switch_page knows only pages that are files
        return visitor.run()

    yield open_page
    st.cache_resource.clear()

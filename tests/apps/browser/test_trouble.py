"""What is said when something is not there."""

from streamlit.testing.v1 import AppTest


def _two_in_trouble() -> None:
    import streamlit as st

    from apps.browser.ui import show_errors
    from handsim.errors import NotThereError

    st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    for name in ("model", "index"):
        with show_errors():
            raise NotThereError(f"no {name}")


def test_two_parts_of_a_page_in_trouble_wait_for_the_clock() -> None:
    page = AppTest.from_function(_two_in_trouble, default_timeout=10).run()
    assert [shown.value for shown in page.info] == [
        "**Not there yet.** no model",
        "**Not there yet.** no index",
    ]
    assert page.session_state["runs"] == 1

"""What pages share: errors that are tried again, and a session's trail of questions."""

from streamlit.testing.v1 import AppTest


def _fail_twice() -> None:
    import streamlit as st

    from apps.browser.ui import show_errors
    from handsim.errors import NotThereError

    st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    for name in ("model", "index"):
        with show_errors():
            raise NotThereError(f"no {name}")


def test_two_failed_parts_of_a_page_wait_for_the_clock_before_they_are_tried_again() -> None:
    page = AppTest.from_function(_fail_twice, default_timeout=60).run()
    assert [info.value for info in page.info] == [
        "**Not there yet.** no model",
        "**Not there yet.** no index",
    ]
    assert page.session_state["runs"] == 1


def _ask_three_times() -> None:
    from apps.browser import session
    from apps.browser.search.question import Question

    session.ask(Question(hand=1))
    session.ask(Question(hand=1, k=3))
    session.ask(Question(hand=2).with_mark(3, like=True))


def test_the_trail_has_a_question_once_whatever_its_conditions() -> None:
    page = AppTest.from_function(_ask_three_times, default_timeout=60).run()
    assert [question.hand for question in page.session_state["search_trail"]] == [1]
    assert "0000000000000002.0000000000000003" in page.query_params["like"]

"""What a page says when something is not there, and how it comes back by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import streamlit as st

from handsim.errors import HandsimError, NotThereError, UnavailableError

_AGAIN_S: Final = 3
_WAITED: Final = "trouble_waited"


@contextmanager
def told() -> Iterator[None]:
    """Say what a person can mend instead of failing; what may pass by is tried again every few seconds."""
    try:
        yield
    except UnavailableError as error:
        st.warning(f"**The index is away.** {plain(str(error))}", icon=":material/cloud_off:")
        _try_again()
    except NotThereError as error:
        st.info(f"**Not there yet.** {plain(str(error))}", icon=":material/search_off:")
        _try_again()
    except (HandsimError, OSError) as error:
        st.error(plain(str(error)), icon=":material/error:")


def plain(text: str) -> str:
    """A text of a file's, a name's or an error's, so that Markdown shows it as it is."""
    return "".join(f"\\{letter}" if letter in _MARKUP else letter for letter in text).replace("\n", " ")


_MARKUP: Final = frozenset("\\`*_{}[]()#+-.!|<>~$:&")


@st.fragment(run_every=_AGAIN_S)
def _try_again() -> None:
    # Run once with the page that failed, then by the clock alone: that is when the page is tried again.
    if st.session_state.pop(_WAITED, False):
        st.rerun(scope="app")
    st.session_state[_WAITED] = True
    st.caption("Trying again every few seconds.")

"""A button that copies the address that the web browser shows: also behind a proxy and below a path."""

from typing import Final

import streamlit as st

from apps.browser.components import read_css, read_scripts

_CHAIN: Final = "M10 14a4 4 0 0 0 6 0l4-4a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-4 4a4 4 0 0 0 6 6l1-1"
_copy_link = st.components.v2.component(
    "handsim_copy_link",
    html=f"""<button type="button" title="Copy the address of what is shown">
      <svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_CHAIN}"/></svg>
      <span class="label">Copy link</span></button><span class="copied" role="status"></span>""",
    css=read_css("copy_link"),
    js=read_scripts("copy_link"),
)


def copy_link(*, key: str) -> None:
    _copy_link(key=key)

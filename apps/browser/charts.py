"""Charts as all pages draw them."""

from typing import Any, Final

import altair as alt
import streamlit as st

_NUMBERS: Final = {
    "decimal": ".",
    "thousands": ",",
    "grouping": [3],
    "currency": ["", ""],
    "percent": "\N{NO-BREAK SPACE}%",
}
"""As `handsim.english` writes them, a share as 12 %; https://d3js.org/d3-format#formatLocale."""


def draw_chart(chart: alt.Chart | alt.LayerChart | alt.FacetChart, **options: Any) -> None:
    """Draw a chart in the theme's colours; ``options`` are those of `streamlit.altair_chart`."""
    st.altair_chart(chart.configure(locale={"number": _NUMBERS}), **options)

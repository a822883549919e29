"""Evaluations of retrieval on the page."""

from collections.abc import Sequence
from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.results.best import BEST, BEST_PX
from apps.browser.results.retrieval import retrieval_figures, retrieval_reports, retrieval_table
from apps.browser.runs.places import RunPlace
from apps.browser.trouble import told

_SHARES: Final = {
    "Recall@1": "Share of the hands whose truly nearest one the index finds",
    "Recall@10": "Share of the ten truly nearest hands that the index finds",
    "Precision@1": "Share of the labelled hands whose nearest one, of another video, has the same label",
    "Precision@10": "The same of the ten nearest ones",
    "With a positive": "Share of the hands with a neighbour in another video",
    "Across videos": "Share of mined pairs that lie in two videos",
    "Explained variance": "Share of the poses' variance that the embedding keeps",
}
_DISTANCES: Final = {
    "Mined distance": "Mean joint distance of mined pairs, in crop widths: lower is better",
    "Random distance": "The same of random pairs",
}


@st.fragment
def retrieval_section(library: Library, places: Sequence[RunPlace]) -> None:
    """A table over runs, and the pictures of one of them."""
    with told():
        reports = retrieval_reports(places, library.runs.objects)
        if not reports:
            st.info("**Retrieval was not evaluated yet.**", icon=":material/search:")
            st.markdown("How many of the truly nearest hands the index finds, and how alike they are:")
            evaluate = library.command("evaluate retrieval --labels --name FIRST")
            st.code(evaluate, language="sh", wrap_lines=True)
            return
        column = st.column_config
        st.dataframe(
            retrieval_table(reports),
            hide_index=True,
            placeholder="–",
            column_config={
                "Evaluation": column.TextColumn(pinned=True),
                BEST: column.TextColumn(
                    width=BEST_PX, help="The columns in which no other evaluation is better"
                ),
                **{name: column.NumberColumn(format="%.4f", help=help) for name, help in _SHARES.items()},
                **{name: column.NumberColumn(format="%.4f", help=help) for name, help in _DISTANCES.items()},
                "Hands": column.NumberColumn(format="localized", help="In the index"),
                "Asked for": column.NumberColumn(format="localized", help="Hands that it was measured on"),
            },
        )
        drawn = {place.title: figures for place, _ in reports if (figures := retrieval_figures(place.path))}
        if drawn:
            title = st.selectbox(
                "Figures of",
                list(drawn),
                key="retrieval_run",
                bind="query-params",
                width=320,
                help="The evaluation whose pictures are shown",
            )
            for side, (caption, path) in zip(st.columns(2), drawn[title].items(), strict=False):
                side.image(path.read_bytes(), caption, alt=f"{caption}, of {title}")

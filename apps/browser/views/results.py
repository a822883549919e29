"""Results: what evaluations and experiments say, side by side."""

from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.results.experiment_section import experiment_section
from apps.browser.results.experiments import experiment_files
from apps.browser.results.pose_section import pose_section
from apps.browser.results.retrieval import FILE as RETRIEVAL_FILE
from apps.browser.results.retrieval_section import retrieval_section
from apps.browser.trouble import told
from training.evaluation.report import REPORT_FILE

_POSES: Final = "Poses"
_RETRIEVAL: Final = "Retrieval"
_EXPERIMENTS: Final = "Experiments"


def results(library: Library) -> None:
    """One kind of results; at first one of which there are some."""
    with told():
        places = library.runs.places()
        there = {
            _POSES: any((place.path / REPORT_FILE).exists() for place in places),
            _RETRIEVAL: any((place.path / RETRIEVAL_FILE).exists() for place in places),
            _EXPERIMENTS: bool(experiment_files(library.home)),
        }
        shown = st.segmented_control(
            "Results of",
            list(there),
            default=next((kind for kind, is_there in there.items() if is_there), _POSES),
            required=True,
            key="of",
            bind="query-params",
            help="Estimated poses on labelled hands; the index's answers; the papers' tables",
        )
        if shown == _POSES:
            pose_section(library, places)
        elif shown == _RETRIEVAL:
            retrieval_section(library, places)
        else:
            experiment_section(library)

"""Experiments on the page: the tables of papers."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.results.experiment_chart import experiment_chart
from apps.browser.results.experiments import (
    ExperimentResults,
    Table,
    as_texts,
    experiment_files,
    spaced,
    step_counts,
)
from apps.browser.runs.table import duration
from apps.browser.trouble import plain, told
from handsim.errors import HandsimError

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


@st.fragment
def experiment_section(library: Library) -> None:
    """The tables of one experiment, as they were last written."""
    with told():
        files = experiment_files(library.home)
        if not files:
            _nothing_yet(library)
            return
        name = st.selectbox(
            "Experiment",
            list(files),
            key="experiment",
            bind="query-params",
            width=320,
            help="Many runs from one file, told in tables",
        )
        results = library.results.experiments(files[name])
        if results is None:
            raise HandsimError(
                f"the tables of {name} cannot be read; handsim experiment table makes them anew"
            )
        _head(library, name, files[name], results)
        for number, table in enumerate(results.tables):
            _table(table, number)


def _nothing_yet(library: Library) -> None:
    counts = step_counts(library.home)
    if any(counts.values()):
        told_counts = f"{counts['done']:,} steps are done, {counts['failed']:,} failed"
        st.info(
            f"**An experiment has begun, its tables were not made yet.** {told_counts}, "
            f"{counts['begun']:,} are under way or were stopped.",
            icon=":material/science:",
        )
        st.markdown("Tables of what is there so far, with the experiment's file or name:")
        st.code(library.command("experiment table FILE"), language="sh", wrap_lines=True)
        return
    st.info("**No experiment yet.** The papers' tables are made of many runs.", icon=":material/science:")
    st.code(library.command("experiment run synthetic_main"), language="sh", wrap_lines=True)


def _head(library: Library, name: str, path: Path, results: ExperimentResults) -> None:
    counts = Counter(results.states)
    command = library.command(f"experiment table {name if _PLAIN_NAME.fullmatch(name) else 'FILE'}")
    age = duration(max(0.0, time.time() - path.stat().st_mtime))
    failed = f", {counts['failed']:,} failed" if counts["failed"] else ""
    st.subheader(plain(results.title))
    st.markdown(
        f"{counts['done']:,} of {len(results.states):,} runs are done{failed}. Mean ± standard deviation "
        "over the seeds; ★ **best** of what is there for all seeds. "
        f":gray[Written {age} ago; `{command}` brings it up to date.]"
    )


def _table(table: Table, number: int) -> None:
    st.markdown(f"#### {plain(table.title)}")
    if table.where:
        st.caption(plain(", ".join(f"{spaced(axis)} {value}" for axis, value in table.where.items())))
    st.table(as_texts(table, plain), width="content", border="horizontal", alt=table.title)
    if not any(cell.n for row in table.cells for cell in row):
        return
    metrics = table.metrics
    metric = next(iter(metrics))
    if len(metrics) > 1:
        metric = st.selectbox(
            "Drawn",
            list(metrics),
            format_func=lambda name: metrics[name],
            key=f"drawn_{number}",
            width=320,
            help="The number of the table that is drawn: means, standard deviations, and each seed as a dot",
        )
    st.altair_chart(experiment_chart(table, metric), key=f"experiment_{number}")

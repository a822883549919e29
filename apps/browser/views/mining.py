"""Mining: what pre-training will see under a policy, tried on a sample, and what a change of it does."""

import time
from typing import Final

import streamlit as st

from apps.browser import session
from apps.browser.going import MINING_PATH
from apps.browser.library import Library
from apps.browser.mining.chart import distances_chart
from apps.browser.mining.controls import POLICIES, Against, compared_with, controls, trial_asked
from apps.browser.mining.figures import distance_quantiles, figures, histogram
from apps.browser.mining.keeping import kept_trial
from apps.browser.mining.measuring import TriedSample
from apps.browser.mining.numbers import numbers
from apps.browser.mining.panels import hubs_panel, lonely_panel, pairs_panel
from apps.browser.mining.trial import MiningTrial
from apps.browser.trouble import plain, told
from handsim.pool import Pool
from index import IndexVersion

_PANELS: Final = {"Pairs": pairs_panel, "Without a positive": lonely_panel, "Most chosen": hubs_panel}


@st.fragment
def mining(library: Library) -> None:
    """The policy at the left, what it comes to at the right; a changed control draws this again."""
    with told():
        trial = trial_asked()
        session.keep_address(MINING_PATH)
        with library.version() as version:
            pool = library.pool()
            left, right = st.columns([1, 3], gap="large")
            quantiles = None
            # Where the trial fails, the controls stay, so that it can be changed.
            with right, told():
                started = time.perf_counter()
                tried = kept_trial(library, pool, version, trial)
                quantiles = distance_quantiles(tried)
                _result(library, pool, version, trial, tried, started)
            with left, st.expander("Mining policy", expanded=True, icon=":material/tune:"):
                controls(trial, quantiles)


def _result(
    library: Library,
    pool: Pool,
    version: IndexVersion,
    trial: MiningTrial,
    tried: TriedSample,
    started: float,
) -> None:
    """Figures, distances and hands; ``started`` is when the question was asked, in seconds."""
    if not tried.paired.any():
        st.warning(
            "No hand of the sample has a positive under this policy.", icon=":material/filter_alt_off:"
        )
        lonely_panel(library, pool, version, trial, tried)
        return
    other, than = compared_with(trial)
    against = None if other is None else kept_trial(library, pool, version, trial.with_policy(other))
    took_ms = (time.perf_counter() - started) * 1000
    st.markdown(
        f"**{len(tried):,} hands** of {len(pool):,}"
        + (f", changes against the **{POLICIES[than]}**" if against is not None else "")
        + f" :gray[· {took_ms:,.0f} ms · index {plain(version.info.name)}]"
    )
    numbers(figures(tried), None if against is None else figures(against))
    _distances(tried, against, than)
    if tried.not_in_index:
        st.caption(
            f"{tried.not_in_index:,} hands of the sample are not in this index version; `handsim index add` "
            f"makes a version that has them."
        )
    panel = st.segmented_control(
        "Look at",
        list(_PANELS),
        default="Pairs",
        required=True,
        key="mining_panel",
        persist_state="session",
        help="The pairs themselves, the hands that have none, or the positives that many hands share",
    )
    _PANELS[panel](library, pool, version, trial, tried)


def _distances(tried: TriedSample, against: TriedSample | None, than: Against) -> None:
    sets = {"mined": tried.pose_distances, "random": tried.random_distances}
    if against is not None:
        sets[POLICIES[than]] = against.pose_distances
    st.altair_chart(
        distances_chart(histogram(sets)),
        alt="Histogram of the distances between the joints of mined pairs and of random ones",
    )

"""Trials of policies that are kept in mind for all visitors."""

from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.mining.measuring import TriedSample, try_policy
from apps.browser.mining.trial import MiningTrial
from handsim.pool import Pool
from index import IndexVersion

_KEPT: Final = 32
"""Of some 400 KB each at most."""


def kept_trial(library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial) -> TriedSample:
    """What `try_policy` finds, asked for once; raises as it does."""
    place = (str(library.home.path), version.info.name, version.info.checksum, str(len(pool)))
    return _tried(version, pool, place, trial)


@st.cache_data(max_entries=_KEPT, show_spinner="Asking the index for pairs")
def _tried(_version: IndexVersion, _pool: Pool, place: tuple[str, ...], trial: MiningTrial) -> TriedSample:
    """``place`` tells one home and version from another."""
    return try_policy(_version, _pool, trial)

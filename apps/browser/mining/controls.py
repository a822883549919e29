"""The policy and its sample as controls: what they show is what the address says, and back."""

from dataclasses import replace
from typing import Final, Literal

import streamlit as st

from apps.browser import session
from apps.browser.mining.trial import MOST_RANKS, SAMPLES, MiningTrial, as_recipe
from handsim.errors import HandsimError
from index import MiningPolicy
from index.mining import DEFAULT_POLICY

_KEY: Final = "mining_"
_BEFORE: Final = "mining_policy_before"
_AGAINST: Final = "mining_against"
Against = Literal["default", "before"]
POLICIES: Final[dict[Against, str]] = {"default": "default policy", "before": "policy before"}
"""What a trial's policy is held against, for people."""
_FIRST_CAP: Final = 0.5
"""The largest distance that is offered first, where nothing is known of the sample's."""


def trial_asked() -> MiningTrial:
    """What the address asks; raises HandsimError where it cannot be read."""
    return MiningTrial.from_params(st.query_params.to_dict())


def ask(trial: MiningTrial) -> None:
    """Put a trial into the address, from which the page answers it; the policy before is remembered."""
    try:
        before = trial_asked().policy
    except HandsimError:
        before = trial.policy
    if before != trial.policy:
        st.session_state[_BEFORE] = before
    st.query_params.from_dict(trial.as_params())


def compared_with(trial: MiningTrial) -> tuple[MiningPolicy | None, Against]:
    """The policy that this visitor holds the trial's against, None where that is the same one; and which."""
    against: Against = st.session_state.get(_AGAINST) or "default"
    other = DEFAULT_POLICY if against == "default" else st.session_state.get(_BEFORE, trial.policy)
    return (None if other == trial.policy else other), against


def controls(trial: MiningTrial, quantiles: tuple[float, float] | None) -> None:
    """Draw them; a change is in the address before the page is drawn again.

    ``quantiles`` are the embedding distances within which half of the pairs lie, and 95 of 100, if known.
    """
    _show(trial, quantiles)
    _of_policy(trial, quantiles)
    _of_sample(trial)
    with st.expander("As a recipe", icon=":material/description:"):
        st.caption("What a pre-training recipe says to mine like this.")
        st.code(as_recipe(trial.policy), language="yaml")


def _of_policy(trial: MiningTrial, quantiles: tuple[float, float] | None) -> None:
    st.slider(
        "Ranks, first to Top-K",
        1,
        MOST_RANKS,
        key=_KEY + "ranks",
        on_change=_changed,
        help="Which of a hand's nearest are its positives; pre-training draws one of them each time. "
        "1 to 1 is the nearest alone, as in the paper; a first rank above 1 leaves the nearest out",
    )
    st.toggle(
        "Other videos only",
        key=_KEY + "other_video",
        on_change=_changed,
        help="Never a hand of the anchor's own video: its next frame is alike, but teaches nothing",
    )
    st.toggle(
        "One per video",
        key=_KEY + "one_per_video",
        on_change=_changed,
        help="Count ranks over videos, each told by its nearest hand; makes a difference from Top-2 on",
    )
    st.toggle(
        "Limit the distance",
        key=_KEY + "capped",
        on_change=_changed,
        help="Leave out what is further away than the limit; a hand may be left without a positive",
    )
    if trial.policy.max_distance is not None:
        st.number_input(
            "Largest distance",
            0.0,
            step=0.05,
            format="%.3f",
            key=_KEY + "max_distance",
            on_change=_changed,
            help="Euclidean, in the index's embedding",
        )
        if quantiles is not None:
            half, most = quantiles
            st.caption(f"Under it half of the pairs lie within {half:.3f}, 95 of 100 within {most:.3f}.")


def _of_sample(trial: MiningTrial) -> None:
    st.segmented_control(
        "Hands to try it on",
        SAMPLES,
        required=True,
        format_func=lambda count: f"{count:,}",
        key=_KEY + "sample",
        on_change=_changed,
        help="A random sample of the pool, the same one for every policy; more are surer and slower",
    )
    st.segmented_control(
        "Compare with",
        list(POLICIES),
        default="default",
        required=True,
        format_func=lambda against: POLICIES[against].capitalize(),
        key=_AGAINST,
        persist_state="session",
        help="Whose figures stand beside this policy's, of the same hands",
    )
    if compared_with(trial)[0] is None:
        st.caption("That is this very policy; change it, and its figures stand beside the other's.")
    st.button(
        "Other hands",
        icon=":material/refresh:",
        on_click=ask,
        args=(trial.of_other_hands(),),
        width="stretch",
        help="The same policy on another random sample",
    )
    st.button(
        "Back to the default",
        icon=":material/restart_alt:",
        on_click=ask,
        args=(trial.with_policy(DEFAULT_POLICY),),
        disabled=trial.policy == DEFAULT_POLICY,
        width="stretch",
        help="The nearest hand of another video, as in the paper",
    )


def _show(trial: MiningTrial, quantiles: tuple[float, float] | None) -> None:
    policy = trial.policy
    likely_cap = _FIRST_CAP if quantiles is None else round(quantiles[1], 3)
    shown = {
        "ranks": (policy.first_rank, policy.top_k),
        "other_video": policy.other_video,
        "one_per_video": policy.one_per_video,
        "capped": policy.max_distance is not None,
        "max_distance": likely_cap if policy.max_distance is None else policy.max_distance,
        "sample": trial.sample,
    }
    for name, value in shown.items():
        session.show(_KEY + name, value)


def _changed() -> None:
    """Take what the controls show into the address."""
    said = st.session_state
    first, last = said[_KEY + "ranks"]
    try:
        policy = MiningPolicy(
            first_rank=first,
            top_k=last,
            other_video=said[_KEY + "other_video"],
            one_per_video=said[_KEY + "one_per_video"],
            max_distance=said[_KEY + "max_distance"] if said[_KEY + "capped"] else None,
        )
        asked = replace(trial_asked(), policy=policy, sample=said[_KEY + "sample"])
    except HandsimError:
        return  # the page says what is wrong with the address
    ask(asked)

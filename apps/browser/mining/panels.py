"""Hands of a tried sample to look at: pairs, hands without a positive, most-chosen positives."""

from collections.abc import Sequence
from typing import Final, get_args

import streamlit as st

from apps.browser.cards import hand_card, told_of
from apps.browser.components.hand_grid import Card, hand_grid
from apps.browser.going import search_for
from apps.browser.library import Library
from apps.browser.mining import controls
from apps.browser.mining.figures import Order, lonely_hands, pairs_in_order
from apps.browser.mining.measuring import TriedSample
from apps.browser.mining.trial import CONDITIONS, MiningTrial, without
from apps.browser.mining.weights import WeightForm, pair_weights
from apps.browser.search.question import Question
from apps.browser.trouble import plain
from handsim.pool import Pool
from index import IndexVersion

_ORDERS: Final[dict[Order, str]] = {"worst": "Worst first", "best": "Best first", "random": "At random"}
_COUNTS: Final = (12, 24, 48)
_FEW: Final = 24


def pairs_panel(
    library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial, tried: TriedSample
) -> None:
    """Anchors and their positives side by side, in the order that is chosen."""
    order, form, count, skeletons = _which_pairs()
    places = pairs_in_order(tried, order, count, trial.seed)
    weights = pair_weights(tried.pose_distances, form)
    captions = [
        f"pose {tried.pose_distances[place]:.3f} · distance {tried.distances[place]:.3f} · "
        f"weight {weights[place]:.2f}"
        for place in places
    ]
    both = [hand for place in places for hand in (int(tried.anchors[place]), int(tried.positives[place]))]
    titles = ["Anchor", "Positive"] * len(places)
    st.caption(
        "pose: mean distance of the joints, in crop widths. distance: in the index's embedding. "
        "weight: of the pair in the loss. Click a hand to search from it."
    )
    hand_grid(
        _cards(library, pool, version, both, titles),
        key="mining_pairs",
        label=f"Pairs of anchor and positive, {_ORDERS[order].lower()}",
        on_pick=_search,
        skeletons=skeletons,
        pairs=captions,
    )


def _which_pairs() -> tuple[Order, WeightForm, int, bool]:
    """Order, weights, number of pairs and whether with skeletons, as this visitor has chosen them."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order: Order = st.segmented_control(
            "Order",
            list(_ORDERS),
            default="worst",
            required=True,
            format_func=_ORDERS.__getitem__,
            key="mining_order",
            persist_state="session",
            help="By pose distance, the largest first: what is odd in a policy shows there",
        )
        form: WeightForm = st.segmented_control(
            "Weights",
            list(get_args(WeightForm)),
            default="linear",
            required=True,
            format_func=str.capitalize,
            key="mining_weights",
            persist_state="session",
            help="SiMHand's, as if the sample were one batch, before augmentation: linear goes from 1 for "
            "the nearest pair to 0 for the furthest, sigmoid is 0.5 at the mean distance",
        )
        count: int = st.segmented_control(
            "Pairs",
            _COUNTS,
            default=_COUNTS[0],
            required=True,
            key="mining_count",
            persist_state="session",
            help="How many to show",
        )
        skeletons = st.toggle(
            "Skeletons",
            value=True,
            key="mining_skeletons",
            persist_state="session",
            help="Draw the 21 joints over each crop",
        )
    return order, form, count, skeletons


def lonely_panel(
    library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial, tried: TriedSample
) -> None:
    """Hands without a positive, and what to relax for them."""
    count = int((~tried.paired).sum())
    if not count:
        st.success(f"All {len(tried):,} hands have a positive under this policy.", icon=":material/check:")
        return
    st.markdown(
        f"**{count:,} of {len(tried):,}** hands have no positive. Pre-training shows each of them with a "
        f"second view of its own, as SimCLR does."
    )
    _relaxing(trial, tried)
    hands = lonely_hands(tried, _FEW).tolist()
    if len(hands) < count:
        st.caption(f"{len(hands)} of them, spread over the sample:")
    hand_grid(
        _cards(library, pool, version, hands, [""] * len(hands)),
        key="mining_lonely",
        label="Hands without a positive",
        on_pick=_search,
    )


def _relaxing(trial: MiningTrial, tried: TriedSample) -> None:
    """Buttons that leave out one condition each, and what that would do; or why none helps."""
    if tried.one_video is not None and trial.policy.other_video:
        st.caption(
            f"All hands of this pool are of one video, {plain(tried.one_video) or 'which has no name'}, "
            f"and positives must be of another one."
        )
    for condition, share in tried.to_relax:
        st.button(
            f"Leave out “{CONDITIONS[condition]}”: {share:.0%} of them would have one",
            key=f"mining_relax_{condition}",
            icon=":material/filter_alt_off:",
            on_click=controls.ask,
            args=(trial.with_policy(without(trial.policy, condition)),),
            help="Try the policy without this condition",
        )
    if not tried.to_relax:
        st.caption("No single condition can be left out that would give one of them a positive.")


def hubs_panel(
    library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial, tried: TriedSample
) -> None:
    """The positives that most anchors have."""
    st.markdown(
        f"**{tried.different_positives:,}** different hands are chosen {tried.all_positives:,} times, by "
        f"{int(tried.paired.sum()):,} of the sample's hands. Those chosen most, counted in the sample alone:"
    )
    hands = tried.hubs[:_FEW].tolist()
    titles = [f"by {times:,} hand{'' if times == 1 else 's'}" for times in tried.hub_counts[:_FEW].tolist()]
    hand_grid(
        _cards(library, pool, version, hands, titles),
        key="mining_hubs",
        label="Most-chosen positives, the most chosen first",
        on_pick=_search,
    )


def _cards(
    library: Library, pool: Pool, version: IndexVersion, hands: Sequence[int], titles: Sequence[str]
) -> list[Card]:
    known = version.payloads(hands) if hands else []
    return [
        hand_card(library, pool, hand, title, told_of(payload))
        for hand, title, payload in zip(hands, titles, known, strict=True)
    ]


def _search(hand: int) -> None:
    search_for(Question(hand=hand))

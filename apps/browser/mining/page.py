"""The page Mining: the pairs that pre-training gets under a policy, and what a change of the policy does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, get_args

import altair as alt
import streamlit as st

from apps.browser import address
from apps.browser.charts import draw_chart
from apps.browser.components.hand_grid import Card, hand_grid
from apps.browser.components.heading import heading
from apps.browser.components.sheet import sheet, sheet_button
from apps.browser.library import Library
from apps.browser.mining import policy
from apps.browser.mining.measure import (
    Figures,
    Order,
    TrialResult,
    WeightForm,
    cached_trial,
    distance_quantiles,
    figures,
    hands_without_positive,
    histogram,
    pair_weights,
    pairs_in_order,
)
from apps.browser.mining.policy import (
    CONDITIONS,
    POLICIES,
    Against,
    MiningTrial,
    find_other_policy,
    read_trial,
    without,
)
from apps.browser.search.question import Question
from apps.browser.session import search_for
from apps.browser.tray.choosing import make_chooser
from apps.browser.ui import build_card, describe_payload, escape, show_errors
from handsim.english import describe_distance, percent, pluralize
from handsim.pool import Pool
from index import IndexVersion

_ORDERS: Final[dict[Order, str]] = {"worst": "Worst first", "best": "Best first", "random": "At random"}
_COUNTS: Final = (12, 24, 48)
_FEW: Final = 24
_HAS_TORCH: Final = find_spec("torch") is not None
"""The weights of pairs need it; without it they are left out."""


def pairs_panel(
    library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial, result: TrialResult
) -> None:
    """Query hands and their matches side by side, in the order that is chosen."""
    order, form, count, skeletons = _choose_pairs()
    places = pairs_in_order(result, order, count, trial.seed)
    captions = [
        f"pose {result.pose_distances[place]:.3f} · {describe_distance(result.distances[place])}"
        for place in places
    ]
    if _HAS_TORCH:
        weights = pair_weights(result.pose_distances, form)
        captions = [
            f"{text} · weight {weights[place]:.2f}" for text, place in zip(captions, places, strict=True)
        ]
    both = [hand for place in places for hand in (int(result.anchors[place]), int(result.positives[place]))]
    titles = ["Query hand", "Match"] * len(places)
    st.caption(
        "pose: mean distance of the joints, share of the picture's width. distance: in the embedding. "
        "weight: of the pair in the loss. Click a hand to search from it."
    )
    hand_grid(
        _cards(library, pool, version, both, titles),
        key="mining_pairs",
        label=f"Pairs of query hand and match, {_ORDERS[order].lower()}",
        on_pick=_search,
        chooser=make_chooser(library),
        skeletons=skeletons,
        pairs=captions,
    )


def _choose_pairs() -> tuple[Order, WeightForm, int, bool]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order: Order = st.segmented_control(
            "Order",
            list(_ORDERS),
            required=True,
            format_func=_ORDERS.__getitem__,
            help="By pose distance, the largest first: what is odd in a policy shows there",
            **address.option("order", list(_ORDERS), "worst"),
        )
        form: WeightForm = st.segmented_control(
            "Weights",
            list(get_args(WeightForm)),
            required=True,
            format_func=str.capitalize,
            help="SiMHand's, as if the sample were one batch, before augmentation: linear goes from 1 for "
            "the nearest pair to 0 for the furthest, sigmoid is 0.5 at the mean distance",
            **address.option("weights", get_args(WeightForm), "linear"),
        )
        count: int = st.segmented_control(
            "Pairs",
            _COUNTS,
            required=True,
            help="How many to show",
            **address.option("pairs", _COUNTS, _COUNTS[0]),
        )
        skeletons = st.toggle(
            "Skeletons",
            help="Draw the 21 joints over each crop",
            **address.flag("skeletons", True),
        )
    return order, form, count, skeletons


def without_positive_panel(
    library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial, result: TrialResult
) -> None:
    """Hands without a positive, and what to relax for them."""
    count = int((~result.paired).sum())
    if not count:
        st.success("Each hand has a match under this policy.", icon=":material/check:")
        return
    st.markdown(
        f"**{count:,} of {len(result):,}** hands have no match. Pre-training shows each of them with a "
        f"second view of its own, as SimCLR does."
    )
    _suggest_relaxing(trial, result)
    hands = hands_without_positive(result, _FEW).tolist()
    if len(hands) < count:
        st.caption(f"{len(hands)} of them, spread over the sample:")
    hand_grid(
        _cards(library, pool, version, hands, [""] * len(hands)),
        key="mining_lonely",
        label="Hands without a match",
        on_pick=_search,
        chooser=make_chooser(library),
    )


def _suggest_relaxing(trial: MiningTrial, result: TrialResult) -> None:
    """Buttons that leave out one condition each, with the effect; or why none helps."""
    if result.one_video is not None and trial.policy.other_video:
        st.caption(
            "All hands of this pool are of one video, "
            f"{escape(result.one_video) or 'which has no name'}, and matches must be of another one."
        )
    for condition, share in result.to_relax:
        st.button(
            f"Leave out “{CONDITIONS[condition]}”: {percent(share)} of them would have one",
            key=f"mining_relax_{condition}",
            icon=":material/filter_alt_off:",
            on_click=policy.ask,
            args=(trial.with_policy(without(trial.policy, condition)),),
            help="Try the policy without this condition",
        )
    if not result.to_relax:
        st.caption("No single condition can be left out that would give one of them a match.")


def hubs_panel(
    library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial, result: TrialResult
) -> None:
    """The positives that most anchors have."""
    st.markdown(
        f"**{result.unique_positives:,}** distinct matches are chosen {result.all_positives:,} times, by "
        f"{int(result.paired.sum()):,} of the sample's hands. Those chosen most, counted in the sample alone:"
    )
    hands = result.hubs[:_FEW].tolist()
    titles = [f"by {pluralize(times, 'hand')}" for times in result.hub_counts[:_FEW].tolist()]
    hand_grid(
        _cards(library, pool, version, hands, titles),
        key="mining_hubs",
        label="Most-chosen matches, the most chosen first",
        on_pick=_search,
        chooser=make_chooser(library),
    )


def _cards(
    library: Library, pool: Pool, version: IndexVersion, hands: Sequence[int], titles: Sequence[str]
) -> list[Card]:
    known = version.payloads(hands) if hands else []
    return [
        build_card(library, pool, hand, title, describe_payload(payload))
        for hand, title, payload in zip(hands, titles, known, strict=True)
    ]


def _search(hand: int) -> None:
    search_for(Question(hand=hand))


_KEY: Final = "mining_numbers"
"""By which `page.css` lays the figures out."""


@dataclass(frozen=True)
class _Metric:
    """How one figure is shown."""

    name: str
    """In `apps.browser.mining.measure.figures`."""
    label: str
    form: str
    help: str

    def change(self, value: float | None, before: float | None) -> str | int | None:
        """The change as text; 0 where it is too small to be seen."""
        if value is None or before is None:
            return None
        if self.show(value) == self.show(before):
            return 0
        change = self._read(value) - self._read(before)
        if self.form == _SHARE:
            return f"{change:+.1f} points"
        return self.form.replace("{:", "{:+").format(type(value)(change))

    def show(self, value: float) -> str:
        return percent(value) if self.form == _SHARE else self.form.format(value)

    def _read(self, value: float) -> float:
        """The number as people read it: rounded, so that the change is that of what they see."""
        return float(self.show(value).rstrip(" %×").replace(",", ""))


_SHARE: Final = "%"
_LENGTH: Final = "{:.3f}"
_OF_PAIR_COUNT: Final = ("different", "most_chosen")
_METRICS: Final = (
    _Metric(
        "with_positive",
        "With a match",
        _SHARE,
        "Hands that have a match (the paper: a positive) under this policy; the others are shown in a second "
        "view of their own",
    ),
    _Metric(
        "cross_video",
        "Of another video",
        _SHARE,
        "Pairs that lie in two videos: those of one teach little more than the next frame does",
    ),
    _Metric(
        "pose_distance",
        "Pose distance",
        _LENGTH,
        "Mean distance between the joints of query hand (the paper: anchor) and match, share of the "
        "picture's width: "
        "what weights rest on",
    ),
    _Metric(
        "times_nearer",
        "Nearer than random",
        "{:.1f}×",
        "How many times the pose distance is that of random hands of two videos",
    ),
    _Metric(
        "distance",
        "Embedding distance",
        _LENGTH,
        "Mean distance between query hand and match in the index's embedding: what 'largest distance' caps",
    ),
    _Metric(
        "different",
        "Distinct matches",
        _SHARE,
        "Share of distinct ones among all matches. Low: a few hands, "
        "hubs, are chosen again and again. It falls with the sample's size and with Top-K",
    ),
    _Metric(
        "most_chosen",
        "Most chosen",
        "{:,}",
        "How many of the sample's hands have the most-chosen hand among their matches",
    ),
    _Metric(
        "same_label",
        "Same label",
        _SHARE,
        "Of the pairs of which both hands have a label, those where it is the same one",
    ),
)


def draw_figures(mined: Figures, other: Figures | None, *, as_many_pairs: bool = True) -> None:
    """Draw the figures and their changes against the ``other`` ones; unknown ones are left out.

    Some change with the number of pairs alone, whatever the policy: these only where there are as many.
    """
    with st.container(key=_KEY, gap="small"):
        for metric in _METRICS:
            value = mined.get(metric.name)
            if value is None:
                continue
            delta = None if other is None else metric.change(value, other.get(metric.name))
            if metric.name in _OF_PAIR_COUNT and not as_many_pairs:
                delta = None
            st.metric(
                metric.label,
                metric.show(value),
                delta,
                delta_color="off",
                delta_arrow="off",
                help=metric.help,
                border=True,
            )


_HEIGHT_PX: Final = 240
_DASHES: Final = [[1, 0], [6, 3], [2, 2]]
"""Lines differ by these as well as by their colours."""


def distances_chart(rows: list[dict[str, Any]]) -> alt.Chart:
    """Steps over the bins of a `histogram`, a line for each set of distances, in the theme's colours."""
    names = list(dict.fromkeys(row["pairs"] for row in rows))
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=500, labelLimit=0)
    chart: alt.Chart = (
        alt.Chart({"values": rows})
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(
            alt.X(
                "distance:Q",
                title="mean joint distance, share of the picture's width",
                scale=alt.Scale(nice=False),
            ),
            alt.Y("share:Q", title="share of pairs", axis=alt.Axis(format="%", tickCount=4)),
            alt.Color("pairs:N", sort=names, legend=legend),
            alt.StrokeDash(
                "pairs:N", sort=names, scale=alt.Scale(domain=names, range=_DASHES), legend=legend
            ),
            tooltip=[
                alt.Tooltip("pairs:N"),
                alt.Tooltip("distance:Q", title="from", format=".3f"),
                alt.Tooltip("to:Q", format=".3f"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .properties(height=_HEIGHT_PX)
    )
    return chart


_PANELS: Final = {
    "Pairs": pairs_panel,
    "Without a match": without_positive_panel,
    "Most chosen": hubs_panel,
}


@st.fragment
def mining(library: Library) -> None:
    """The policy on the left, its results on the right; a changed control redraws this section."""
    with show_errors(), address.show_notes():
        trial = read_trial()
        for text in policy.read_notes():
            address.note(text)
        with library.open_version() as version:
            pool = library.open_pool()
            left, right = st.columns([1, 3], gap="large")
            quantiles = None
            # Where the trial fails, the controls stay: it can be changed.
            with right, show_errors():
                started = time.perf_counter()
                result = cached_trial(library, pool, version, trial)
                quantiles = distance_quantiles(result)
                _result(library, pool, version, trial, result, started)
            with left:
                sheet_button("policy", "Mining policy")
                with sheet("policy"), st.expander("Mining policy", expanded=True, icon=":material/tune:"):
                    policy.controls(trial, len(pool), quantiles)


def _result(
    library: Library,
    pool: Pool,
    version: IndexVersion,
    trial: MiningTrial,
    result: TrialResult,
    started: float,
) -> None:
    """Figures, distances and hands; ``started`` is the clock when the search began, in seconds."""
    if not result.paired.any():
        st.warning("No hand of the sample has a match under this policy.", icon=":material/filter_alt_off:")
        without_positive_panel(library, pool, version, trial, result)
        return
    other, than = find_other_policy(trial)
    against = None if other is None else cached_trial(library, pool, version, trial.with_policy(other))
    took_ms = (time.perf_counter() - started) * 1000
    changes = f", changes against the {POLICIES[than]}" if against is not None else ""
    with st.container(gap=None):
        heading(f"{pluralize(len(result), 'hand')} of {len(pool):,}{changes}", key="mining_found", level=2)
        st.caption(f"{took_ms:,.0f} ms · index {escape(version.info.name)}")
    draw_figures(
        figures(result),
        None if against is None else figures(against),
        as_many_pairs=against is None or against.all_positives == result.all_positives,
    )
    _distances(result, against, than)
    if result.not_in_index:
        hands = pluralize(result.not_in_index, "hand of the sample is", "hands of the sample are")
        st.caption(f"{hands} not in this index version; `handsim index add` makes a version that has all.")
    panel = st.segmented_control(
        "Look at",
        list(_PANELS),
        required=True,
        help="The pairs themselves, the hands that have none, or the matches that many hands share",
        **address.option("look", list(_PANELS), "Pairs"),
    )
    _PANELS[panel](library, pool, version, trial, result)


def _distances(result: TrialResult, against: TrialResult | None, than: Against) -> None:
    sets = {"mined": result.pose_distances, "random": result.random_distances}
    if against is not None:
        sets[POLICIES[than]] = against.pose_distances
    draw_chart(
        distances_chart(histogram(sets)),
        alt="Histogram of the distances between the joints of mined pairs and of random ones",
    )

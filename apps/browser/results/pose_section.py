"""Evaluations of estimated poses on the page: table, curves, a drawn hand, samples."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import streamlit as st

from apps.browser.library import Library
from apps.browser.results.best import BEST, BEST_PX
from apps.browser.results.hand_chart import hand_chart
from apps.browser.results.pck_chart import SHAPES, pck_chart
from apps.browser.results.pose_groups import Measured, PoseGroup, pose_groups, ranked, splits
from apps.browser.results.pose_table import AGAINST_MEAN, KEYPOINTS, NUMBERS, SPREADS, pose_table
from apps.browser.runs.places import RunPlace, by_tail
from apps.browser.trouble import plain, told
from training.evaluation.conventions import ALIGNMENT_TITLES, OFFICIAL
from training.evaluation.report import PREDICTIONS_FILE, REPORT_FILE
from training.evaluation.scores import ALIGNMENTS

_COMPARED_AT_FIRST: Final = 6
_FILES: Final = {REPORT_FILE: "application/json", PREDICTIONS_FILE: "application/vnd.apache.parquet"}
_NAME_PX: Final = 220
_PERCENT: Final = "%.1f %%"


@st.fragment
def pose_section(library: Library, places: Sequence[RunPlace]) -> None:
    """All of it; a changed control draws this again, and nothing else."""
    with told():
        reports, objects = library.results.pose_reports, library.runs.objects
        groups = pose_groups(places, reports, objects)
        if not groups:
            _nothing_yet(library)
            _unreadable(places, library)
            return
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            if any(len(group.members) > 1 for group in groups) and not st.toggle(
                "Mean over seeds",
                value=True,
                key="over_seeds",
                help="Put those together that differ by their seeds alone, with the standard deviation",
            ):
                groups = pose_groups(places, reports, objects, over_seeds=False)
            shown = _one_split(groups)
            alignment = _alignment(shown)
            shown = ranked(shown, alignment)
        st.dataframe(
            pose_table(shown, alignment, by_tail(places), objects),
            hide_index=True,
            placeholder="–",
            column_config=_columns(),
        )
        _unreadable(places, library)
        compared = _compared(shown)
        left, right = st.columns([3, 2], gap="large")
        with left:
            st.markdown(f"**Joints within a distance of the truth**, {ALIGNMENT_TITLES[alignment]}")
            if compared:
                st.altair_chart(pck_chart(compared, alignment), key="pck")
        with right:
            group = _closer(shown)
            _hand(group, shown, alignment)
        _samples(group)


def _nothing_yet(library: Library) -> None:
    st.info("**No poses were evaluated yet.**", icon=":material/back_hand:")
    st.markdown("A fine-tuned estimator, on the split that papers report:")
    st.code(library.command("evaluate pose RUN"), language="sh", wrap_lines=True)
    st.markdown("There is no estimator yet? Hands to learn from, and one that learns from them:")
    st.code(
        "handsim synth --layout synthetic --out hands/ --videos 200\n"
        + library.command("finetune synthetic --data.root hands/"),
        language="sh",
        wrap_lines=True,
    )


def _one_split(groups: Sequence[PoseGroup]) -> list[PoseGroup]:
    by_split = splits(groups)
    chosen = st.selectbox(
        "Judged on",
        list(by_split),
        key="split",
        bind="query-params",
        width=260,
        help="Dataset and split: only what was measured on the same hands can be compared",
    )
    return by_split[chosen]


def _alignment(groups: Sequence[PoseGroup]) -> str:
    there = [name for name in ALIGNMENTS if any(name in group.report.curves for group in groups)]
    official = [name for name in OFFICIAL.get(groups[0].report.dataset, ()) if name in there]
    at_first = (official or there)[0]
    return st.selectbox(
        "Laid onto the truth by",
        there,
        index=there.index(at_first),
        format_func=lambda name: ALIGNMENT_TITLES[name] + (" *" if name in official else ""),
        key="alignment",
        bind="query-params",
        width=260,
        help="How predictions are aligned before they are judged; a star: as papers on this dataset report",
    )


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "Evaluation": column.TextColumn(width=_NAME_PX, pinned=True),
        BEST: column.TextColumn(width=BEST_PX, help="The columns in which no other evaluation is better"),
        **{
            name: column.NumberColumn(format="%.3f" if "AUC" in name else "%.2f", help=_HELP.get(name))
            for name in (*NUMBERS.values(), *SPREADS.values(), KEYPOINTS)
        },
        AGAINST_MEAN: column.NumberColumn(format=_PERCENT, help="MPJPE as a share of the mean pose's"),
        "Labels": column.NumberColumn(format=_PERCENT, help="Share of the labels that were trained on"),
        "Begins with": column.TextColumn(help="What the encoder's weights come from"),
    }


_HELP: Final = {
    NUMBERS["mpjpe_mm"]: "Mean joint error: lower is better",
    NUMBERS["median_mm"]: "Median joint error: lower is better",
    NUMBERS["auc_0_50"]: "Area under the curve below, from 0 to 50 mm: higher is better",
    NUMBERS["auc_20_50"]: "The same from 20 to 50 mm",
    KEYPOINTS: "Mean error of the 2D joints in the picture",
    **dict.fromkeys(SPREADS.values(), "Standard deviation over the seeds"),
}


def _unreadable(places: Sequence[RunPlace], library: Library) -> None:
    damaged = [
        place.title
        for place in places
        if (place.path / REPORT_FILE).exists()
        and library.results.pose_reports(place.path / REPORT_FILE) is None
    ]
    if damaged:
        st.caption(f"Cannot be read, evaluate them anew: {plain(', '.join(damaged))}")


def _compared(groups: Sequence[PoseGroup]) -> list[PoseGroup]:
    by_title = {group.title: group for group in groups}
    chosen = st.multiselect(
        "Curves",
        list(by_title),
        default=list(by_title)[:_COMPARED_AT_FIRST],
        key="curves",
        bind="query-params",
        max_selections=len(SHAPES),
        help="Evaluations whose curves are drawn over each other",
    )
    return [by_title[title] for title in chosen]


def _closer(groups: Sequence[PoseGroup]) -> PoseGroup:
    by_title = {group.title: group for group in groups}
    chosen = st.selectbox(
        "Look closer at",
        list(by_title),
        key="closer",
        bind="query-params",
        help="Its errors joint by joint, and below the hands that it told best and worst",
    )
    return by_title[chosen]


def _hand(group: PoseGroup, groups: Sequence[PoseGroup], alignment: str) -> None:
    errors = group.joints_mm(alignment)
    if errors is None:
        st.caption("Single joints were not measured.")
        return
    every = [each.joints_mm(alignment) for each in groups]
    largest = max(float(np.nanmax(each)) for each in every if each is not None)
    st.markdown(
        f"**Mean error of each joint (mm)**, {ALIGNMENT_TITLES[alignment]}",
        help="A right hand seen from its palm. Sizes can be compared between evaluations; point at a joint "
        "for what the mean pose has there",
    )
    floor = group.report.mean_pose_joints_mm.get(alignment)
    st.altair_chart(hand_chart(errors, floor, largest), width="content", key="hand")


def _samples(group: PoseGroup) -> None:
    """The hands that one evaluation drew, and its files."""
    st.subheader("Best, median and worst hands")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        member = group.members[0]
        if len(group.members) > 1:
            seeds = {f"seed {each.seed}": each for each in group.members}
            help = "The training whose hands are shown"
            member = seeds[st.selectbox("Of", list(seeds), key="closer_seed", width=160, help=help)]
        _downloads(member)
    try:
        picture = (member.place.path / "figures" / "samples.png").read_bytes()
    except OSError:
        st.caption("This evaluation drew no hands.")
        return
    alt = f"Best, median and worst hands of {group.title}"
    st.image(picture, plain(group.title), alt=alt)


def _downloads(member: Measured) -> None:
    for name, kind in _FILES.items():
        path = member.place.path / name
        if path.is_file():
            st.download_button(
                name,
                path.read_bytes,
                f"{member.place.tail[1]}-{name}",
                kind,
                on_click="ignore",
                icon=":material/download:",
                key=f"download_{name}",
                help="As the evaluation wrote it",
            )

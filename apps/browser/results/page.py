"""The page Results: pose evaluations, evaluations of retrieval and the tables of experiments."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import streamlit as st

from apps.browser import address, session
from apps.browser.charts import draw_chart
from apps.browser.library import Library
from apps.browser.results.charts import (
    SHAPES,
    experiment_chart,
    hand_chart,
    pck_chart,
    retrieval_charts,
)
from apps.browser.results.evaluations import (
    Evaluation,
    PoseGroup,
    by_error,
    by_split,
    experiment_files,
    pose_groups,
    step_counts,
)
from apps.browser.results.pairs_3d import GROUPS, KEY, group_rows, kind_rows, pairs_chart
from apps.browser.results.tables import (
    AGAINST_MEAN,
    BEST,
    BEST_PX,
    FIGURES,
    KEYPOINTS,
    MESH_NUMBERS,
    NUMBERS,
    RETRIEVAL_FILE,
    SPREADS,
    are_comparable,
    experiment_table,
    pose_table,
    retrieval_figures,
    retrieval_reports,
    retrieval_table,
)
from apps.browser.training.page import format_duration
from apps.browser.training.runs import RunPlace, as_number, by_tail
from apps.browser.ui import escape, show_command, show_errors
from handsim.errors import HandsimError
from training.evaluation.report import ALIGNMENT_TITLES, ALIGNMENTS, OFFICIAL, PREDICTIONS_FILE, REPORT_FILE
from training.experiments.results import LEGEND, ExperimentResults
from training.experiments.tables import Table

_COMPARED_AT_FIRST: Final = 6
_OF_EVALUATIONS: Final = ("curves", "closer", "closer_seed")
_DRAWN: Final = "drawn_"
"""Parameters of the address: they name what another choice may take away."""
_FILES: Final = {REPORT_FILE: "application/json", PREDICTIONS_FILE: "application/vnd.apache.parquet"}
_NAME_PX: Final = 220
_PERCENT: Final = "%.1f %%"


@st.fragment
def pose_section(library: Library, places: Sequence[RunPlace]) -> None:
    """Table, curves, one hand and samples; a changed control redraws this section alone."""
    with show_errors(), address.show_notes():
        reports, objects = library.pose_reports, library.runs.objects
        groups = pose_groups(places, reports, objects)
        if not groups:
            _no_poses_yet(library)
            _unreadable(places, library)
            return
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            if any(len(group.members) > 1 for group in groups) and not st.toggle(
                "Mean over seeds",
                help="Put those together that differ by their seeds alone, with the standard deviation",
                **address.flag("over_seeds", True, resets=_OF_EVALUATIONS),
            ):
                groups = pose_groups(places, reports, objects, over_seeds=False)
            groups = _choose_split(groups)
            alignment = _choose_alignment(groups)
            groups = by_error(groups, alignment)
        st.dataframe(
            pose_table(groups, alignment, by_tail(places), objects),
            hide_index=True,
            placeholder="–",
            column_config=_columns(),
        )
        _unreadable(places, library)
        compared = _choose_compared(groups)
        left, right = st.columns([3, 2], gap="large")
        with left:
            st.markdown(f"**Joints within a distance of the truth**, {ALIGNMENT_TITLES[alignment]}")
            if compared:
                draw_chart(pck_chart(compared, alignment), key="pck")
        with right:
            group = _choose_one(groups)
            _joint_errors(group, groups, alignment)
        _samples(group)


def _no_poses_yet(library: Library) -> None:
    st.info("**No poses have been evaluated yet.**", icon=":material/back_hand:")
    st.markdown("A fine-tuned estimator, on the split that papers report:")
    show_command(library.format_command("evaluate pose RUN"))
    st.markdown("There is no estimator yet? Hands to learn from, and one that learns from them:")
    show_command(
        "handsim synth --layout synthetic --out hands/ --videos 200\n"
        + library.format_command("finetune synthetic --data.root hands/")
    )


def _choose_split(groups: Sequence[PoseGroup]) -> list[PoseGroup]:
    splits = by_split(groups)
    chosen = st.selectbox(
        "Judged on",
        list(splits),
        width=260,
        help="Dataset and split: only what was measured on the same hands can be compared",
        **address.option(
            "split",
            list(splits),
            next(iter(splits)),
            given="index",
            explicit=True,
            resets=("alignment", *_OF_EVALUATIONS),
        ),
    )
    return splits[chosen]


def _choose_alignment(groups: Sequence[PoseGroup]) -> str:
    there = [name for name in ALIGNMENTS if any(name in group.report.curves for group in groups)]
    official = [name for name in OFFICIAL.get(groups[0].report.dataset, ()) if name in there]

    def show(name: str) -> str:
        return ALIGNMENT_TITLES[name] + (" *" if name in official else "")

    alignment: str = st.selectbox(
        "Laid onto the truth by",
        there,
        format_func=show,
        width=260,
        help="How predictions are aligned before they are judged; a star: as papers on this dataset report",
        **address.option("alignment", there, (official or there)[0], show, given="index", explicit=True),
    )
    return alignment


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "Evaluation": column.TextColumn(width=_NAME_PX, pinned=True),
        BEST: column.TextColumn(width=BEST_PX, help="The columns in which no other evaluation is better"),
        **{
            name: column.NumberColumn(
                format="%.3f" if name.lstrip("± ").startswith(("AUC", "F@")) else "%.2f", help=_HELP.get(name)
            )
            for name in (*NUMBERS.values(), *SPREADS.values(), KEYPOINTS, *MESH_NUMBERS.values())
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
    MESH_NUMBERS["mpvpe_mm"]: "Mean error of the mesh's vertices",
    MESH_NUMBERS["f_5"]: "F-score of the vertices at 5 mm: higher is better",
    MESH_NUMBERS["f_15"]: "The same at 15 mm",
    **dict.fromkeys(SPREADS.values(), "Standard deviation over the seeds"),
}


def _unreadable(places: Sequence[RunPlace], library: Library) -> None:
    damaged = [
        place.title
        for place in places
        if (place.path / REPORT_FILE).exists() and library.pose_reports(place.path / REPORT_FILE) is None
    ]
    if damaged:
        st.caption(f"Cannot be read, evaluate them anew: {escape(', '.join(damaged))}")


def _choose_compared(groups: Sequence[PoseGroup]) -> list[PoseGroup]:
    by_title = {group.title: group for group in groups}
    chosen = st.multiselect(
        "Curves",
        list(by_title),
        max_selections=len(SHAPES),
        help="Evaluations whose curves are drawn over each other",
        **address.some("curves", list(by_title), list(by_title)[:_COMPARED_AT_FIRST], most=len(SHAPES)),
    )
    return [by_title[title] for title in chosen]


def _choose_one(groups: Sequence[PoseGroup]) -> PoseGroup:
    by_title = {group.title: group for group in groups}
    chosen = st.selectbox(
        "Look closer at",
        list(by_title),
        help="Its error joint by joint, and below it its best and worst hands",
        **address.option(
            "closer",
            list(by_title),
            next(iter(by_title)),
            given="index",
            explicit=True,
            resets=("closer_seed",),
        ),
    )
    return by_title[chosen]


def _joint_errors(group: PoseGroup, groups: Sequence[PoseGroup], alignment: str) -> None:
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
    draw_chart(hand_chart(errors, floor, largest), width="content", key="hand")


def _samples(group: PoseGroup) -> None:
    """The hands that one evaluation drew, and its files."""
    st.header("Best, median and worst hands", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        member = group.members[0]
        if len(group.members) > 1:
            seeds = {f"seed {each.seed}": each for each in group.members}
            tie = address.option("closer_seed", list(seeds), next(iter(seeds)), given="index")
            help = "The training whose hands are shown"
            member = seeds[st.selectbox("Of", list(seeds), width=160, help=help, **tie)]
        _downloads(member)
    try:
        picture = (member.place.path / "figures" / "samples.png").read_bytes()
    except OSError:
        st.caption("This evaluation drew no hands.")
        return
    alt = f"Best, median and worst hands of {group.title}"
    st.image(picture, escape(group.title), alt=alt)


def _downloads(member: Evaluation) -> None:
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


_RATES: Final = {
    "Recall@1": "Share of the hands whose truly nearest one the index finds",
    "Recall@10": "Share of the ten truly nearest hands that the index finds",
    "Precision@1": "Share of the labelled hands whose nearest one, of another video, has the same label",
    "Precision@10": "The same of the ten nearest ones",
    "P@10 at most": "Precision@10 cannot be higher: labels have fewer than ten hands in other videos",
}
_SHARES: Final = {
    "With a match": "Share of the hands with a neighbour in another video",
    "Across videos": "Share of mined pairs that lie in two videos",
    "Explained variance": "Share of the poses' variance that the embedding keeps",
}
_DISTANCES: Final = {
    "Mined distance": "Mean joint distance of mined pairs, share of the picture's width: lower is better",
    "Random distance": "The same of random pairs",
}
_ERRORS_3D: Final = {
    "Mined 3D": "Mean joint error of mined pairs in 3D, in mm, root and scale aligned: lower is better",
    "of it in xy": "Its part in the picture",
    "of it in depth": "Its part along the line of sight",
    "Random 3D": "The same of random pairs",
    "Oracle 3D": "The same of each hand and the nearest one in 3D",
}


@st.fragment
def retrieval_section(library: Library, places: Sequence[RunPlace]) -> None:
    with show_errors(), address.show_notes():
        reports = retrieval_reports(places, library.runs.objects)
        if not reports:
            st.info("**Retrieval has not been evaluated yet.**", icon=":material/search:")
            st.markdown("How many of the truly nearest hands the index finds, and how alike they are:")
            show_command(library.format_command("evaluate retrieval --labels --name FIRST"))
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
                **{name: column.NumberColumn(format="%.4f", help=help) for name, help in _RATES.items()},
                **{name: column.NumberColumn(format=_PERCENT, help=help) for name, help in _SHARES.items()},
                **{name: column.NumberColumn(format="%.3f", help=help) for name, help in _DISTANCES.items()},
                **{name: column.NumberColumn(format="%.1f", help=help) for name, help in _ERRORS_3D.items()},
                "Hands": column.NumberColumn(format="localized", help="In the index"),
                "Asked for": column.NumberColumn(format="localized", help="Hands that it was measured on"),
                "Without a peer": column.NumberColumn(
                    format="localized",
                    help="Hands left out of the precisions: no other video has a hand with their label",
                ),
            },
        )
        if not are_comparable(reports):
            st.caption(
                "None is called best: they are of different numbers of hands, which alone makes a difference."
            )
        titles = [place.title for place, _ in reports]
        at_first = next(
            (place.title for place, each in reports if isinstance(each.get(KEY), dict)), titles[0]
        )
        title = st.selectbox(
            "Figures of",
            titles,
            width=320,
            help="The evaluation whose charts are shown",
            **address.option("retrieval_run", titles, at_first, given="index", explicit=True),
        )
        place, report = next((place, report) for place, report in reports if place.title == title)
        if isinstance(pairs := report.get(KEY), dict):
            _pairs_3d(pairs)
        _retrieval_figures(place, report)


def _pairs_3d(pairs: Mapping[str, Any]) -> None:
    """A chart of mined, random and oracle pairs, and one of each group of the mined ones."""
    groups = {title: rows for group, title in GROUPS.items() if (rows := group_rows(pairs, group))}
    charts = {"Mined pairs, between the nearest in 3D and random ones": kind_rows(pairs), **groups}
    if not any(charts.values()):
        return
    st.header("Pairs in 3D", anchor=False)
    st.caption(
        "Mean joint error of the two hands of a pair, root and scale aligned, and how much of it lies in the "
        "picture and in depth: as distances, so the parts do not add up."
    )
    oracle_mm = as_number((pairs.get("oracle") or {}).get("aligned_mm"))
    largest_mm = max((row["mm"] for rows in groups.values() for row in rows), default=0.0)
    for number, (title, rows) in enumerate((title, rows) for title, rows in charts.items() if rows):
        if number % 2 == 0:
            sides = st.columns(2, gap="large")
        if title in groups:
            chart = pairs_chart(rows, largest_mm=largest_mm, oracle_mm=oracle_mm)
        else:
            chart = pairs_chart(rows, largest_mm=max(row["mm"] for row in rows), with_legend=True)
        with sides[number % 2]:
            st.markdown(f"**{title}**")
            draw_chart(chart, key=f"pairs_3d_{number}")


def _retrieval_figures(place: RunPlace, report: Mapping[str, Any]) -> None:
    """Charts in the page's colours; of an older evaluation, which kept no numbers for them, its pictures."""
    charts = retrieval_charts(report)
    pictures = retrieval_figures(place.path)
    captions = [caption for caption in FIGURES.values() if caption in charts or caption in pictures]
    for number, caption in enumerate(captions):
        if number % 2 == 0:
            sides = st.columns(2, gap="large")
        with sides[number % 2]:
            if caption in charts:
                st.markdown(f"**{caption}**")
                draw_chart(charts[caption], key=f"retrieval_{number}", alt=f"{caption}, of {place.title}")
            else:
                st.image(pictures[caption].read_bytes(), caption, alt=f"{caption}, of {place.title}")


_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


@st.fragment
def experiment_section(library: Library) -> None:
    """The tables of one experiment, as they were last written."""
    with show_errors(), address.show_notes():
        files = experiment_files(library.home)
        if not files:
            _no_experiment_yet(library)
            return
        name = st.selectbox(
            "Experiment",
            list(files),
            width=320,
            help="Many runs from one file, summarised in tables",
            **address.option(
                "experiment",
                list(files),
                next(iter(files)),
                given="index",
                explicit=True,
                resets=[each for each in session.read_params() if each.startswith(_DRAWN)],
            ),
        )
        results = library.experiments(files[name])
        if results is None:
            raise HandsimError(
                f"the tables of {name} cannot be read; handsim experiment table makes them anew"
            )
        _head(library, name, files[name], results)
        for number, table in enumerate(results.tables):
            _table(table, number)


def _no_experiment_yet(library: Library) -> None:
    counts = step_counts(library.home)
    if any(counts.values()):
        st.info(
            f"**An experiment has begun; its tables have not been made yet.** {counts['done']:,} steps are "
            f"done, {counts['failed']:,} failed, {counts['begun']:,} are under way or were stopped.",
            icon=":material/science:",
        )
        st.markdown("Tables of what is there so far, with the experiment's file or name:")
        show_command(library.format_command("experiment table FILE"))
        return
    st.info("**No experiment yet.** The papers' tables are made of many runs.", icon=":material/science:")
    show_command(library.format_command("experiment run synthetic_main"))


def _head(library: Library, name: str, path: Path, results: ExperimentResults) -> None:
    done, failed = results.count("done"), results.count("failed")
    command = library.format_command(f"experiment table {name if _PLAIN_NAME.fullmatch(name) else 'FILE'}")
    age = format_duration(max(0.0, time.time() - path.stat().st_mtime))
    st.header(escape(results.title), anchor=False)
    st.markdown(
        f"{done:,} of {len(results.runs):,} runs are done{f', {failed:,} failed' if failed else ''}. "
        f"{LEGEND} :gray[Written {age} ago; `{command}` updates it.]"
    )
    for note in results.notes:
        st.markdown(escape(note))


def _table(table: Table, number: int) -> None:
    st.markdown(f"### {escape(table.title)}")
    if table.condition:
        st.caption(escape(table.condition))
    st.table(experiment_table(table, escape), width="content", border="horizontal", alt=table.title)
    if not any(cell.n for row in table.cells for cell in row):
        return
    metrics = {metric.name: metric for metric in table.metrics}
    name = next(iter(metrics))
    if len(metrics) > 1:
        name = st.selectbox(
            "Drawn",
            list(metrics),
            format_func=lambda name: metrics[name].title,
            width=320,
            help="Which number of the table to draw: means, intervals, and each seed as a dot",
            **address.option(f"{_DRAWN}{number}", list(metrics), name, given="index"),
        )
    draw_chart(experiment_chart(table, metrics[name]), key=f"experiment_{number}")


_POSES: Final = "Poses"
_RETRIEVAL: Final = "Retrieval"
_EXPERIMENTS: Final = "Experiments"


def results(library: Library) -> None:
    with show_errors(), address.show_notes():
        places = library.runs.places()
        has_any = {
            _POSES: any((place.path / REPORT_FILE).exists() for place in places),
            _RETRIEVAL: any((place.path / RETRIEVAL_FILE).exists() for place in places),
            _EXPERIMENTS: bool(experiment_files(library.home)),
        }
        at_first = next((kind for kind, has in has_any.items() if has), _POSES)
        kind = st.segmented_control(
            "Results of",
            list(has_any),
            required=True,
            help="Estimated poses on labelled hands; the index's answers; the papers' tables",
            **address.option("of", list(has_any), at_first, explicit=True),
        )
        if kind == _POSES:
            pose_section(library, places)
        elif kind == _RETRIEVAL:
            retrieval_section(library, places)
        else:
            experiment_section(library)

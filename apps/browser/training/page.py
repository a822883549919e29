"""The page Training: a table of the runs, their progress, curves and figures, while they train."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import streamlit as st

from apps.browser import address
from apps.browser.charts import draw_chart
from apps.browser.library import Library
from apps.browser.training.curves import LOSS, Panel, Points, curve_chart, last_step, panel_table, panels
from apps.browser.training.runs import BUDGET_BYTES, RunRecord, State, run_figures
from apps.browser.ui import escape, show_command, show_errors
from handsim.english import percent

STATES: Final[dict[State, str]] = {
    "running": "▶ running",
    "done": "✓ done",
    "stopped": "■ stopped",
    "diverged": "⚠ diverged",
}
"""Each with a sign: no colour shows them."""
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def run_table(records: Sequence[RunRecord]) -> Any:
    latest = [record.latest for record in records]
    return pa.table(
        {
            "Run": [record.place.title for record in records],
            "State": [STATES[record.state] for record in records],
            "Done": pa.array([record.share_done for record in records], pa.float64()),
            "Steps": [_steps(record) for record in records],
            "Loss": pa.array([each.get("loss") for each in latest], pa.float64()),
            "Error": pa.array([each.get("val_mpjpe_mm") for each in latest], pa.float64()),
            "Kind": [record.kind for record in records],
            "Encoder": pa.array([record.architecture for record in records], pa.string()),
            "Begins with": [record.init for record in records],
            "Index": pa.array([record.index for record in records], pa.string()),
            "Seed": pa.array([record.seed for record in records], pa.int64()),
            "Last change": [f"{format_duration(record.age_s)} ago" for record in records],
        }
    )


def progress_line(record: RunRecord) -> str:
    """State, steps, loss, rate, waiting and remaining time of a run."""
    latest = record.latest
    parts = [
        STATES[record.state],
        f"{_steps(record)} {'step' if (record.steps or record.steps_done) == 1 else 'steps'}",
    ]
    if "loss" in latest:
        parts.append(f"loss {latest['loss']:.4g}")
    if "val_mpjpe_mm" in latest:
        parts.append(f"error {latest['val_mpjpe_mm']:.1f} mm")
    if "images_per_s" in latest:
        rate = f"{latest['images_per_s']:,.0f}"
        parts.append(f"{rate} image{'' if rate == '1' else 's'}/s")
    if "data_wait" in latest:
        parts.append(f"waiting {percent(latest['data_wait'])}")
    if record.state == "running" and record.left_s is not None:
        parts.append(f"about {format_duration(record.left_s)} left")
    return " · ".join(parts)


def _steps(record: RunRecord) -> str:
    done = f"{record.steps_done:,}"
    return done if record.steps is None else f"{done} of {record.steps:,}"


def format_duration(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:,.0f} days"


_LIVE_S: Final = 2
_TABLE_S: Final = 5
_IDLE_S: Final = 30
_FIGURES_S: Final = 10
_SCALES: Final = ("linear", "logarithmic")
_MOST_SMOOTHING: Final = 0.99
_MOST_RUNS: Final = 8
"""As many as there are colours and dashes."""
_ROWS_SEEN: Final = 6
_NAME_PX: Final = 315
_INIT_PX: Final = 165
_ROW_PX: Final = 33
"""Streamlit's 2.1875 rem at the theme's font size, rounded; any other height shows a part of a row."""
_BORDER_PX: Final = 1


def training(library: Library) -> None:
    """All runs in a table, below it the curves and pictures of those that are chosen."""
    with show_errors(), address.show_notes():
        records = library.runs.records()
        if not records:
            st.fragment(_no_run_yet, run_every=_TABLE_S)(library)
            return
        any_running = any(record.state == "running" for record in records)
        st.fragment(_table, run_every=_TABLE_S if any_running else _IDLE_S)(library, _states(records))
        chosen = _choose_runs(records)
        if not chosen:
            st.info("Choose a run to see its curves.", icon=":material/arrow_upward:")
            return
        metrics = [library.runs.metrics(record.place) for record in chosen]
        is_running = any(record.state == "running" for record in chosen)
        live = is_running or any(each.behind_bytes > BUDGET_BYTES for each in metrics)
        titles = [record.place.title for record in chosen]
        st.fragment(_curves, run_every=_LIVE_S if live else None)(library, titles, live)
        st.fragment(_figures, run_every=_FIGURES_S if is_running else None)(library, titles)


def _no_run_yet(library: Library) -> None:
    if library.runs.records():
        st.rerun()
    st.info("**No training yet.** Its curves are drawn here while it runs.", icon=":material/show_chart:")
    st.markdown("An encoder, from pairs that the index answers:")
    show_command(library.format_command("pretrain cpu_small"))
    st.markdown("An estimator of 3D poses, from labelled hands:")
    show_command(library.format_command("finetune synthetic --data.root FOLDER --init cpu_small"))


def _states(records: Sequence[RunRecord]) -> dict[str, State]:
    return {record.place.title: record.state for record in records}


def _table(library: Library, known: Mapping[str, State]) -> None:
    with show_errors():
        records = library.runs.records()
        if _states(records) != known:
            st.rerun()  # a run was started, resumed, removed or has ended
        st.dataframe(
            run_table(records),
            hide_index=True,
            placeholder="–",
            height=_ROW_PX * (1 + min(len(records), _ROWS_SEEN)) + 2 * _BORDER_PX,
            column_config={
                "Run": st.column_config.TextColumn(width=_NAME_PX, pinned=True),
                "State": st.column_config.TextColumn(help="Judged by when it last wrote"),
                "Done": st.column_config.ProgressColumn(
                    format="percent", min_value=0, max_value=1, width="small", help="Share of its steps"
                ),
                "Loss": st.column_config.NumberColumn(format="%.4g", help="The last one"),
                "Error": st.column_config.NumberColumn(
                    "Error (mm)",
                    format="%.2f",
                    help="The last mean joint error of the validation, root-relative",
                ),
                "Begins with": st.column_config.TextColumn(
                    width=_INIT_PX, help="What the encoder's weights come from"
                ),
                "Index": st.column_config.TextColumn(help="The index version that its pairs come from"),
                "Last change": st.column_config.TextColumn(help="Since it last wrote anything"),
            },
        )


def _choose_runs(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs in the address, in the order in which they were chosen; at first those that are running."""
    by_title = {record.place.title: record for record in records}
    running = [record.place.title for record in records if record.state == "running"]
    at_first = (running or list(by_title))[: 3 if running else 1]
    chosen = st.multiselect(
        "Runs to compare",
        list(by_title),
        max_selections=_MOST_RUNS,
        help="Their curves are drawn over each other; the address names them, so that a link shows the same",
        **address.some(
            "run", list(by_title), at_first, most=_MOST_RUNS, resets=("figures_run", "figure_step")
        ),
    )
    return [by_title[title] for title in chosen]


def _curves(library: Library, titles: Sequence[str], live: bool) -> None:
    with show_errors(), address.show_notes():
        by_title = {record.place.title: record for record in library.runs.records(titles=titles)}
        if any(title not in by_title for title in titles):
            st.rerun()  # a run was removed: the choice is made again without it
        chosen = [by_title[title] for title in titles]
        behind = 0
        curves: dict[str, dict[str, Points]] = {}
        for record in chosen:
            metrics = library.runs.metrics(record.place)
            metrics.advance()
            behind += metrics.behind_bytes
            curves[record.place.title] = metrics.points()
        if live and behind <= BUDGET_BYTES and all(record.state != "running" for record in chosen):
            st.rerun()  # nothing more will come: stop looking
        for record in chosen:
            share = record.share_done
            line = f"**{escape(record.place.title)}** · {escape(progress_line(record))}"
            st.progress(0.0 if share is None else share, line)
        logarithmic, smoothing = _choose_scale()
        main, others = panels(name for each in curves.values() for name in each)
        if not main:
            st.caption("No metrics yet.")
        if main and main[0] == LOSS:
            _draw(main.pop(0), curves, logarithmic, smoothing, is_first=True)
        _grid(main, curves, logarithmic, smoothing)
        if others and st.toggle(
            "All numbers",
            help="Also draw the parts of the loss and what else was written",
            **address.flag("all_numbers", False),
        ):
            _grid(others, curves, logarithmic, smoothing)


def _choose_scale() -> tuple[bool, float]:
    with st.container(horizontal=True, vertical_alignment="top", gap="large"):
        scale = st.segmented_control(
            "Scale",
            _SCALES,
            required=True,
            help="Of the upright axes; shares of time stay linear",
            **address.option("scale", _SCALES, _SCALES[0]),
        )
        smoothing = st.slider(
            "Smoothing",
            0.0,
            _MOST_SMOOTHING,
            step=0.01,
            width=260,
            help="How much of what came before is in each point (exponential mean); the numbers "
            "themselves stay, faint",
            **address.number("smoothing", 0.0, _MOST_SMOOTHING, 0.0),
        )
    return scale == "logarithmic", smoothing


def _grid(
    shown: Sequence[Panel],
    curves: dict[str, dict[str, Points]],
    logarithmic: bool,
    smoothing: float,
) -> None:
    for first in range(0, len(shown), 2):
        for column, panel in zip(st.columns(2, gap="medium"), shown[first : first + 2], strict=False):
            with column:
                _draw(panel, curves, logarithmic, smoothing)


def _draw(
    panel: Panel,
    curves: dict[str, dict[str, Points]],
    logarithmic: bool,
    smoothing: float,
    *,
    is_first: bool = False,
) -> None:
    by_log = logarithmic and panel.can_be_logarithmic
    smoothing = smoothing if panel.can_be_smoothed else 0.0
    table = panel_table(panel, curves, smoothing, logarithmic=by_log)
    st.markdown(f"**{escape(panel.title)}**", help=panel.help or None)
    chart = curve_chart(
        table,
        panel,
        list(curves),
        logarithmic=by_log,
        smoothing=smoothing,
        last_step=last_step(curves),
        is_first=is_first,
    )
    draw_chart(chart, key=f"panel_{panel.metric}")


def _figures(library: Library, titles: Sequence[str]) -> None:
    """The figures of one of the runs: the latest one, until a visitor chooses an earlier one."""
    with show_errors(), address.show_notes():
        places = {place.title: place for place in library.runs.places()}
        figures = {title: run_figures(places[title].path) for title in titles if title in places}
        with_figures = [title for title, steps in figures.items() if steps]
        if not with_figures:
            return
        st.header("What it is trained on", anchor=False)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
            title = with_figures[0]
            if len(with_figures) > 1:
                title = st.selectbox(
                    "Run",
                    with_figures,
                    width=320,
                    help="Whose figures to show",
                    **address.option(
                        "figures_run", with_figures, title, given="index", resets=("figure_step",)
                    ),
                )
            step = _choose_step(list(figures[title]))
        try:
            picture = figures[title][step].read_bytes()
        except OSError:
            st.caption("The figure is gone.")
            return
        caption = f"{title}, step {step:,}"
        st.image(picture, escape(caption), alt=f"What it is trained on: {caption}")


def _choose_step(steps: Sequence[int]) -> int:
    """Without a step in the address it is the last one, which follows the training."""
    if len(steps) == 1:
        return steps[0]
    step: int = st.select_slider(
        "Step",
        steps,
        format_func=lambda step: f"{step:,}",
        width=420,
        help="When the figure was drawn; at its end the slider follows the training",
        **address.option("figure_step", steps, steps[-1], given="value"),
    )
    return step

"""What mined pairs are worth in 3D, by `handsim evaluate retrieval --labels3d`: rows and charts."""

from collections.abc import Mapping
from typing import Any, Final

import altair as alt

from apps.browser.results.charts import GREY, SHAPES, Rows
from apps.browser.training.runs import as_count, as_number

KEY: Final = "pairs_3d"
"""Of the numbers in ``retrieval.json``."""
PARTS: Final = {
    "aligned_mm": "in 3D",
    "xy_mm": "its part in the picture",
    "depth_mm": "its part in depth",
}
"""Means of a group of pairs -> their names. Each is a mean distance: the parts do not add up."""
KINDS: Final = {"oracle": "nearest in 3D", "mined": "mined", "random": "random"}
GROUPS: Final = {
    "by_rank": "By rank of the neighbour",
    "by_distance": "By mined distance, quarters",
    "by_view": "By view of the palm",
    "by_pool_size": "By hands in the pool",
    "by_visible": "By visible joints",
    "by_noise": "By the detector's error, quarters",
}
"""What `Report3D` groups mined pairs by -> the title of its chart, in the order of the page."""
_AXIS_PX: Final = 62
_LEGEND_PX: Final = 40
_ROW_PX: Final = 34


def kind_rows(pairs: Mapping[str, Any]) -> Rows:
    """Of mined and random pairs, and of the nearest in 3D; as `group_rows`."""
    return _rows({title: pairs.get(kind) for kind, title in KINDS.items()})


def group_rows(pairs: Mapping[str, Any], group: str) -> Rows:
    """Rows of ``group``, ``part``, ``mm`` and ``pairs`` in the report's order; empty if not measured."""
    means = pairs.get(group)
    return _rows(means) if isinstance(means, dict) else []


def _rows(groups: Mapping[str, Any]) -> Rows:
    rows: Rows = []
    for name, means in groups.items():
        if not isinstance(means, dict):
            continue
        for key, part in PARTS.items():
            mm = as_number(means.get(key))
            if mm is not None:
                rows.append({"group": name, "part": part, "mm": mm, "pairs": as_count(means.get("pairs"))})
    return rows


def pairs_chart(rows: Rows, oracle_mm: float | None = None) -> alt.LayerChart | alt.FacetChart:
    """Groups below each other, for each a sign for every part; a dashed line where the oracle is."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    parts = list(PARTS.values())
    legend = alt.Legend(
        orient="bottom", title=None, columns=2, labelLimit=200, symbolSize=90, symbolOpacity=1
    )
    up = alt.Y(
        "group:N", sort=groups, scale=alt.Scale(domain=groups), title=None, axis=alt.Axis(labelLimit=0)
    )
    across = alt.X("mm:Q", title="mean error (mm)", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=6))
    colour = alt.Color("part:N", scale=alt.Scale(domain=parts), legend=legend)
    shapes = list(SHAPES[: len(parts)])
    shape = alt.Shape("part:N", scale=alt.Scale(domain=parts, range=shapes), legend=legend)
    tooltip = [
        alt.Tooltip("group:N", title="pairs"),
        alt.Tooltip("part:N", title="error"),
        alt.Tooltip("mm:Q", title="mm", format=".1f"),
        alt.Tooltip("pairs:Q", title="how many pairs", format=","),
    ]
    base = alt.Chart({"values": rows}).encode(x=across, y=up)
    layers: list[Any] = [
        base.mark_line(color=GREY, opacity=0.5, strokeWidth=1.5).encode(detail="group:N"),
        base.mark_point(filled=True, size=95, opacity=1).encode(color=colour, shape=shape, tooltip=tooltip),
    ]
    if oracle_mm is not None:
        oracle = alt.Chart({"values": [{"mm": oracle_mm, "name": KINDS["oracle"]}]}).encode(x=across)
        layers.append(oracle.mark_rule(color=GREY, strokeDash=[5, 4]))
        layers.append(oracle.mark_text(color=GREY, align="left", dx=5, dy=-8, y=0).encode(text="name:N"))
    return alt.layer(*layers).properties(height=_AXIS_PX + _LEGEND_PX + _ROW_PX * len(groups))

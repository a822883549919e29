"""What mined pairs are worth in 3D, by `handsim evaluate retrieval --labels3d`: rows and charts."""

from collections.abc import Mapping
from typing import Any, Final

import altair as alt

from apps.browser.results.charts import GREY, SHAPES, Rows
from apps.browser.training.runs import as_count, as_number

KEY: Final = "pairs_3d"
"""Of the numbers in ``retrieval.json``."""
PARTS: Final = {"aligned_mm": "in 3D", "xy_mm": "in the picture", "depth_mm": "in depth"}
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
_AXIS_PX: Final = 84
_LEGEND_PX: Final = 44
_ORACLE_PX: Final = 18
_ROW_PX: Final = 32


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


def pairs_chart(
    rows: Rows, *, largest_mm: float, oracle_mm: float | None = None, with_legend: bool = False
) -> alt.LayerChart | alt.FacetChart:
    """Groups below each other, for each a sign for every part; a dashed line where the oracle is.

    ``largest_mm`` is where the axis ends, so that charts can be compared.
    """
    groups = list(dict.fromkeys(row["group"] for row in rows))
    parts = list(PARTS.values())
    legend = alt.Legend(orient="bottom", title=None, columns=3, symbolSize=90, symbolOpacity=1)
    axis = alt.Axis(labelLimit=0, labelOverlap=False)
    up = alt.Y("group:N", sort=groups, scale=alt.Scale(domain=groups), title=None, axis=axis)
    scale = alt.Scale(domain=[0, largest_mm], nice=True)
    across = alt.X("mm:Q", title="mean error (mm)", scale=scale, axis=alt.Axis(tickCount=6))
    shapes = alt.Scale(domain=parts, range=list(SHAPES[: len(parts)]))
    signs = {
        "color": alt.Color("part:N", scale=alt.Scale(domain=parts), legend=legend if with_legend else None),
        "shape": alt.Shape("part:N", scale=shapes, legend=legend if with_legend else None),
    }
    tooltip = [
        alt.Tooltip("group:N", title="pairs"),
        alt.Tooltip("part:N", title="error"),
        alt.Tooltip("mm:Q", title="mm", format=".1f"),
        alt.Tooltip("pairs:Q", title="how many pairs", format=","),
    ]
    base = alt.Chart({"values": rows}).encode(x=across, y=up)
    layers: list[Any] = [
        base.mark_line(color=GREY, opacity=0.5, strokeWidth=1.5).encode(detail="group:N"),
        base.mark_point(filled=True, size=95, opacity=1).encode(**signs, tooltip=tooltip),
    ]
    if oracle_mm is not None:
        oracle = alt.Chart({"values": [{"mm": oracle_mm, "name": KINDS["oracle"]}]}).encode(x=across)
        layers.append(oracle.mark_rule(color=GREY, strokeDash=[5, 4]))
        layers.append(oracle.mark_text(color=GREY, align="left", dx=5, dy=-8, y=0).encode(text="name:N"))
    height = _AXIS_PX + _ROW_PX * len(groups)
    height += _LEGEND_PX * with_legend + _ORACLE_PX * (oracle_mm is not None)
    return alt.layer(*layers).properties(height=height)

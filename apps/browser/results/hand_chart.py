"""Errors of single joints on a drawn hand."""

from typing import Any, Final

import altair as alt
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from apps.browser.results.pck_chart import GREY
from apps.browser.search.presets import preset
from handsim.skeleton import BONES, JOINT_COUNT, JOINT_NAMES

_WIDTH_PX: Final = 310
_EDGE: Final = 0.07
_NUMBER_ASIDE_PX: Final = 14


def hand_places() -> NDArray[np.float64]:
    """[21, 2] joints of a flat right hand in its crop's unit square, x right, y down."""
    return np.array(preset("Flat"), dtype=np.float64).reshape(JOINT_COUNT, 2) / 1000


def joint_table(errors_mm: NDArray[np.float64], floor_mm: NDArray[np.float64] | None) -> Any:
    """An Arrow table of ``joint``, ``x``, ``y``, ``error`` and the mean pose's ``floor``; NaN is null."""
    places = hand_places()
    floor = np.full(JOINT_COUNT, np.nan) if floor_mm is None else floor_mm
    return pa.table(
        {
            "joint": [name.replace("_", " ") for name in JOINT_NAMES],
            "x": places[:, 0],
            "y": places[:, 1],
            "error": pa.array(errors_mm, from_pandas=True),
            "floor": pa.array(floor, from_pandas=True),
        }
    )


def hand_chart(
    errors_mm: NDArray[np.float64], floor_mm: NDArray[np.float64] | None, largest_mm: float
) -> alt.LayerChart | alt.FacetChart:
    """A flat hand seen from its palm; a joint's circle is larger and fuller, the larger its error.

    ``errors_mm`` and ``floor_mm`` are [21]; ``largest_mm`` is the error of the largest circle.
    """
    places = hand_places()
    low, high = places.min(axis=0) - _EDGE, places.max(axis=0) + _EDGE
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[low[0], high[0]], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[high[1], low[1]], nice=False))
    starts, ends = (places[[bone[end] for bone in BONES]] for end in (0, 1))
    bones = pa.table({"x": starts[:, 0], "y": starts[:, 1], "x2": ends[:, 0], "y2": ends[:, 1]})
    joints = alt.Chart(joint_table(errors_mm, floor_mm)).encode(x=x, y=y)
    errors = [0, max(largest_mm, 1.0)]
    circles = joints.mark_circle().encode(
        size=alt.Size("error:Q", legend=None, scale=alt.Scale(domain=errors, range=[20, 520], clamp=True)),
        opacity=alt.Opacity("error:Q", legend=None, scale=alt.Scale(domain=errors, range=[0.35, 0.95])),
        tooltip=[
            alt.Tooltip("joint:N"),
            alt.Tooltip("error:Q", title="mean error (mm)", format=".1f"),
            alt.Tooltip("floor:Q", title="of the mean pose (mm)", format=".1f"),
        ],
    )
    numbers = joints.mark_text(dx=_NUMBER_ASIDE_PX, align="left", fontSize=12, fontWeight=600)
    drawn = alt.layer(
        alt.Chart(bones).mark_rule(color=GREY, strokeWidth=2, opacity=0.6).encode(x=x, y=y, x2="x2", y2="y2"),
        circles,
        numbers.encode(text=alt.Text("error:Q", format=".0f")),
    )
    height = round(_WIDTH_PX * float((high[1] - low[1]) / (high[0] - low[0])))
    return drawn.properties(width=_WIDTH_PX, height=height)

"""Distances of mined and of random pairs, drawn."""

from typing import Final

import altair as alt

from apps.browser.mining.figures import Histogram

_HEIGHT_PX: Final = 240
_DASHES: Final = [[1, 0], [6, 3], [2, 2]]
"""Lines are told apart by these as well as by their colours."""


def distances_chart(drawn: Histogram) -> alt.Chart:
    """Steps over the bins, a line for each set of distances, in the theme's colours."""
    names = list(drawn.shares)
    rows = [
        {"distance": left, "to": right, "share": share, "pairs": name}
        for name, shares in drawn.shares.items()
        for left, right, share in zip(
            drawn.edges.tolist(), drawn.edges[1:].tolist(), shares.tolist(), strict=False
        )
    ]
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=500, labelLimit=0)
    drawn_chart: alt.Chart = (
        alt.Chart({"values": rows})
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(
            alt.X("distance:Q", title="mean joint distance, in crop widths", scale=alt.Scale(nice=False)),
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
    return drawn_chart

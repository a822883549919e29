"""The figure of `benchmarks.index`: what an engine finds, and how fast."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from apps.cli.figures import FAINT, SERIES, new_figure
from benchmarks.measure import LEAST_RECALL

_LEAST_MISS = 3e-4
"""Missing nothing has no place on a logarithmic axis; it is plot here, below one miss in the sample."""
_MOST_MISS = 0.5


def recall_against_rate(figures: dict[str, Any]) -> Figure:
    """Recall@1 and hands a second of every engine, over its efforts."""
    with new_figure(7.2, 4.2) as plot:
        axes = plot.subplots()
        axes.axhline(1 - LEAST_RECALL, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for engine, colour in zip(figures["engines"], SERIES, strict=False):
            levels = [level for level in engine["levels"] if 1 - level["recall_at_1"] <= _MOST_MISS]
            rates = [level["per_second"] for level in levels]
            misses = [max(1 - level["recall_at_1"], _LEAST_MISS) for level in levels]
            axes.plot(rates, misses, color=colour, marker="o", markersize=4.5, label=_label(engine))
        axes.set(
            title=f"Nearest hand of another video among {figures['points']:,}, {figures['cores']} cores",
            xlabel="hands a second, asked in batches",
            ylabel="recall@1",
            xscale="log",
            yscale="log",
            ylim=(_MOST_MISS * 1.6, _LEAST_MISS * 0.6),
        )
        axes.set_yticks(
            [0.5, 0.1, 0.01, 0.001, _LEAST_MISS], ["0.5", "0.9", "0.99", "0.999", "1"], minor=False
        )
        axes.set_yticks([], minor=True)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return plot


def _label(engine: dict[str, Any]) -> str:
    if engine["effort"] == "none":
        return str(engine["engine"])
    efforts = [level["effort"] for level in engine["levels"]]
    return f"{engine['engine']}, {engine['effort']} {min(efforts)} to {max(efforts)}"


def _short(rate: float, _: int | None = None) -> str:
    """50k for 50,000: longer names run into each other."""
    return f"{rate / 1000:g}k" if rate >= 1000 else f"{rate:g}"

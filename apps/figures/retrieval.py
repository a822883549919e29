"""Figures of how good retrieval is."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from apps.figures.style import ACCENT, CONTRAST, figure
from handsim.embedding import Embedding

_BINS = 60


def pose_distances(mined: NDArray[np.floating], random: NDArray[np.floating]) -> Figure:
    """Histograms of the mean joint distance [N] (in crop widths) of mined and of random pairs."""
    with figure() as drawn:
        axes = drawn.subplots()
        edges = np.linspace(0, float(max(mined.max(), random.max())), _BINS).tolist()
        for distances, name, colour in ((random, "random pairs", CONTRAST), (mined, "mined pairs", ACCENT)):
            axes.hist(
                distances, edges, color=colour, alpha=0.65, label=f"{name}, mean {distances.mean():.3f}"
            )
        axes.set(
            title="How alike are mined pairs?",
            xlabel="mean 2D joint distance (crop widths)",
            ylabel="pairs of hands",
        )
        axes.legend()
    return drawn


def explained_variance(embedding: Embedding) -> Figure:
    """Share of the poses' variance that the first components keep."""
    with figure() as drawn:
        axes = drawn.subplots()
        shares = embedding.explained_variance_ratio_
        numbers = np.arange(1, len(shares) + 1)
        axes.bar(numbers, shares, color=ACCENT, alpha=0.65, label="each")
        axes.plot(numbers, np.cumsum(shares), color=CONTRAST, marker="o", markersize=3, label="together")
        axes.set(
            title=f"{len(shares)} components keep {shares.sum():.1%} of the pose",
            xlabel="component",
            ylabel="explained variance",
            ylim=(0, 1.03),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="center right")
    return drawn

"""The pose space laid flat, so that one can look at it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apps.figures.style import FAINT, SERIES, figure

_SEED = 0
_NAME_GAP = (0.11, 0.045)
"""Names stand at least this share of the map's width or height apart."""
_TRIED_PLACES = 40


def flatten(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places [N, 2] of vectors [N, D] such that neighbours stay neighbours (UMAP, McInnes et al. 2018)."""
    from umap import UMAP  # seconds to import

    places: NDArray[np.float32] = UMAP(
        n_neighbors=min(15, len(vectors) - 1), random_state=_SEED, n_jobs=1
    ).fit_transform(vectors)
    return places


def pose_map(places: NDArray[np.floating], labels: Sequence[str | None]) -> Figure:
    """Hands at their places [N, 2], coloured and named by label where they have one."""
    with figure(7.5, 6.0) as drawn:
        axes = drawn.subplots()
        given = np.array([label or "" for label in labels])
        unlabelled = given == ""
        taken: list[NDArray[np.floating]] = []
        gap = (np.ptp(places, axis=0) * _NAME_GAP).astype(np.float64)
        axes.scatter(places[unlabelled, 0], places[unlabelled, 1], s=4, color=FAINT, alpha=0.4, linewidths=0)
        for number, label in enumerate(sorted(set(given[~unlabelled]))):
            mine = places[given == label]
            colour = SERIES[number % len(SERIES)]
            axes.scatter(mine[:, 0], mine[:, 1], s=7, color=colour, alpha=0.75, linewidths=0)
            place = _free_place(mine, taken, gap)
            if place is None:
                continue
            taken.append(place)
            axes.annotate(
                label,
                (float(place[0]), float(place[1])),
                ha="center",
                va="center",
                fontsize=8.5,
                bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "alpha": 0.9},
            )
        axes.set(title="A map of the poses: near means alike", xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
    return drawn


def _free_place(
    mine: NDArray[np.floating], taken: list[NDArray[np.floating]], gap: NDArray[np.float64]
) -> NDArray[np.floating] | None:
    """The hand nearest to a label's middle on which its name covers no other; None when all are covered."""
    outwards = np.argsort(np.linalg.norm(mine - np.median(mine, axis=0), axis=1))
    tried = mine[outwards[:: max(1, len(mine) // _TRIED_PLACES)]]
    return next(
        (place for place in tried if all((np.abs(place - other) > gap).any() for other in taken)), None
    )

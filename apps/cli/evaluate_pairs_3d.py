"""``handsim evaluate retrieval --labels3d``: what mined pairs are worth in 3D: JSON, tables, a figure."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import format_table
from handsim.embedding import turn_upright
from handsim.english import pluralize
from handsim.pool import Pool
from index.pairs_3d import Groups, PairMeans, Pairs3D, Report3D

KEY: Final = "pairs_3d"
"""Of the numbers in ``retrieval.json``."""
GROUPS: Final = {
    "by_view": "view of the palm",
    "by_rank": "rank",
    "by_distance": "mined distance, quarters",
    "by_pool_size": "hands in the pool",
    "by_visible": "visible joints",
    "by_noise": "detector's error, quarters",
}
"""Fields of `Report3D` -> what the pairs are grouped by."""
_HEADER: Final = [">pairs", ">mm", ">in xy", ">in depth", ">PA mm"]
_BATCHES: Final = (64, 1024, 8192)


def describe_pairs_3d(pairs: Pairs3D, pool: Pool) -> dict[str, Any]:
    """What ``retrieval.json`` holds of the pairs: the report, and what SiMHand's weights follow."""
    errors = histogram(_errors_mm(pairs), quantile=0.99)
    return {**asdict(pairs.report), "weights": _rank_weights(pairs, pool), "curves": {"errors_mm": errors}}


def _rank_weights(pairs: Pairs3D, pool: Pool) -> dict[str, float] | None:
    """Of the mined pairs; None without torch, which makes the views."""
    if find_spec("torch") is None:
        return None
    from training.evaluation.pair_weights import rank_weights

    hands = [pool.keypoints[rows] for rows in (pairs.anchors, pairs.positives)]
    if pairs.report.up_to_turn:  # as pre-training turns them back
        hands = [turn_upright(each).astype(np.float32) for each in hands]
    anchors, positives = hands
    return asdict(rank_weights(anchors, positives, pairs.errors.aligned))


def format_pairs_3d(report: Report3D, weights: dict[str, float] | None) -> str:
    """The tables for a terminal."""
    means = {
        "mined pairs": report.mined,
        "random pairs": report.random,
        "oracle, nearest in 3D": report.oracle,
    }
    turned = ", partners turned as their anchors are" if report.up_to_turn else ""
    tables = [
        f"Pairs in 3D ({report.sample:,} of {pluralize(report.hands, 'hand')}), root and scale aligned"
        f"{turned}",
        _table("", means),
    ]
    tables += [
        _table(title, getattr(report, name)) for name, title in GROUPS.items() if getattr(report, name)
    ]
    share = report.negatives_nearer
    counts = ", ".join(f"{share * (2 * batch - 2):,.1f} at {batch:,} pairs" for batch in _BATCHES)
    lines = [
        f"negatives nearer in 3D than the positive: {share:.3%}; of each anchor {counts}",
        f"rank correlation of the mined distance with the error: {report.distance_correlation:.2f}",
    ]
    if weights is not None:
        lines.append(
            f"rank correlation of SiMHand's positive weights with the error: {weights['pose']:.2f}, with the "
            f"angle between views {weights['turn']:.2f}; from keypoints before augmentation, with the error "
            f"{weights['pose_before']:.2f}"
        )
    return "\n\n".join([*tables, "\n".join(lines)])


def _table(title: str, groups: Groups) -> str:
    rows = [[name, *_cells(means)] for name, means in groups.items()]
    return format_table([title, *_HEADER], rows).lstrip("\n")


def _cells(means: PairMeans) -> list[str]:
    errors = (means.aligned_mm, means.xy_mm, means.depth_mm, means.procrustes_mm)
    return [f"{means.pairs:,}", *(f"{error:.1f}" for error in errors)]


def _errors_mm(pairs: Pairs3D) -> dict[str, NDArray[np.float64]]:
    return {
        "random pairs": pairs.random.aligned,
        "mined pairs": pairs.errors.aligned,
        "nearest in 3D": pairs.oracle.aligned,
    }


def histogram(
    named: Mapping[str, NDArray[np.floating]], bins: int = 60, quantile: float = 1.0
) -> dict[str, list[float]]:
    """Counts by name in bins of equal width from 0 to the largest number, or to a quantile: ``edges`` has all
    bounds, one more than there are bins.
    """
    last = float(np.quantile(np.concatenate([*named.values()]), quantile)) or 1.0
    edges = np.linspace(0, last, bins + 1)
    counts = {name: np.histogram(numbers, edges)[0].tolist() for name, numbers in named.items()}
    return {"edges": edges.tolist(), **counts}


def save_pairs_3d_figure(pairs: Pairs3D, figures: Path) -> None:
    """Draw the errors of mined, random and oracle pairs, and how the mined ones' depend on the distance."""
    from apps.cli.figures import plot_pairs_3d, save_figure

    save_figure(
        plot_pairs_3d(_errors_mm(pairs), pairs.distances, pairs.report.by_pool_size), figures / "pairs_3d.png"
    )

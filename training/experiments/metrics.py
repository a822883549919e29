"""The numbers of an evaluation by their flat names, as `handsim evaluate pose` writes them."""

from dataclasses import dataclass
from typing import Final

from handsim.errors import HandsimError
from training.evaluation.scores import ALIGNMENTS, NUMBERS
from training.runs.recipes import nearest

_ALIGNMENT_TITLES: Final = {
    "root_relative": "root-relative",
    "root_scale": "root and scale aligned",
    "procrustes": "Procrustes",
    "procrustes_proper": "Procrustes, never mirrored",
    "absolute": "absolute",
}
_NUMBER_TITLES: Final = {
    "mpjpe_mm": "MPJPE mm",
    "median_mm": "median mm",
    "auc_0_50": "AUC 0-50 mm",
    "auc_20_50": "AUC 20-50 mm",
}
_KEYPOINTS: Final = {"keypoints_2d_mean_px": "2D mean px", "keypoints_2d_median_px": "2D median px"}


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation."""

    name: str
    """Flat, as ``root_relative_mpjpe_mm``."""
    title: str
    """For people."""
    higher_is_better: bool
    """Of areas under a curve; distances are better the smaller they are."""
    digits: int
    """After the point, in tables."""


def _metric(name: str, title: str) -> Metric:
    is_auc = "_auc_" in name
    return Metric(name, title, is_auc, 3 if is_auc else 2)


METRICS: Final = {
    **{
        f"{alignment}_{number}": _metric(
            f"{alignment}_{number}", f"{_NUMBER_TITLES[number]}, {_ALIGNMENT_TITLES[alignment]}"
        )
        for alignment in ALIGNMENTS
        for number in NUMBERS
    },
    **{name: _metric(name, title) for name, title in _KEYPOINTS.items()},
}
"""All of them."""


def metric(name: str) -> Metric:
    """One of them; raises HandsimError for a name that is none, naming the nearest."""
    if name not in METRICS:
        raise HandsimError(f"there is no metric {name}{nearest(name, sorted(METRICS))}")
    return METRICS[name]

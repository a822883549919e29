"""One evaluation of estimated poses, as its ``pose.json`` tells it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.browser.file_memory import read_object
from handsim.errors import HandsimError
from handsim.skeleton import JOINT_NAMES
from training.evaluation.report import FORMAT
from training.evaluation.scores import ALIGNMENTS

Curves = Mapping[str, NDArray[np.float64]]
"""Alignment -> share [T] of joints within each of the thresholds from 0 to 50 mm."""
Joints = Mapping[str, NDArray[np.float64]]
"""Alignment -> mean error [21] in mm, NaN for a joint that no hand has."""


@dataclass(frozen=True, eq=False)
class PoseReport:
    """What was measured, and on what."""

    dataset: str
    """Its name, as ``freihand``."""
    split: str
    """Of the dataset."""
    facts: Mapping[str, Any]
    """Where the predictions come from."""
    metrics: Mapping[str, float]
    """By flat name, as ``root_relative_mpjpe_mm``; empty where the split has no truth."""
    mean_pose: Mapping[str, float]
    """The same of the mean pose of the training split; empty where it is not known."""
    thresholds_mm: NDArray[np.float64]
    """[T] of the curves."""
    curves: Curves
    """Of the estimator."""
    mean_pose_curves: Curves
    """Of the mean pose."""
    joints_mm: Joints
    """Of the estimator."""
    mean_pose_joints_mm: Joints
    """Of the mean pose."""

    @property
    def training(self) -> Mapping[str, Any]:
        """What the estimator was trained on, as far as it is told."""
        told = self.facts.get("training")
        return told if isinstance(told, dict) else {}


def read_pose_report(path: Path) -> PoseReport:
    """Read ``pose.json``; raises ValueError, KeyError, TypeError or OverflowError for one that is damaged."""
    told = read_object(path)
    if told["format"] != FORMAT:
        raise HandsimError(f"{path} has format {told['format']}; this handsim reads {FORMAT}")
    curves, mean_curves = (told[name].get("pck_0_50", {}) for name in ("curves", "mean_pose_curves"))
    report = PoseReport(
        dataset=str(told["settings"]["dataset"]),
        split=str(told["settings"]["split"]),
        facts=told["facts"],
        metrics=_finite(told["metrics"]),
        mean_pose=_finite(told["mean_pose"]),
        thresholds_mm=_array(curves.get("thresholds_mm", [])),
        curves=_curves(curves),
        mean_pose_curves=_curves(mean_curves),
        joints_mm=_joints(told["joint_mpjpe_mm"]),
        mean_pose_joints_mm=_joints(told["mean_pose_joint_mpjpe_mm"]),
    )
    if not isinstance(report.facts, dict):
        raise HandsimError(f"{path} says of the estimator what is no object")
    if report.metrics and not report.curves:
        raise HandsimError(f"{path} has numbers and no curve; evaluate it anew")
    return report


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    told = {name: float(value) for name, value in numbers.items() if value is not None}
    return {name: value for name, value in told.items() if math.isfinite(value)}


def _array(numbers: Any) -> NDArray[np.float64]:
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _curves(told: Mapping[str, Any]) -> Curves:
    return {name: _array(told[name]) for name in ALIGNMENTS if name in told}


def _joints(told: Mapping[str, Any]) -> Joints:
    return {
        name: _array(told[name].get(joint) for joint in JOINT_NAMES) for name in ALIGNMENTS if name in told
    }

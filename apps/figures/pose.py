"""Figures of how good estimated hand poses are."""

from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from apps.figures.style import ACCENT, CONTRAST, FAINT, SERIES, figure
from handsim.metrics.pck import PCK_0_50
from handsim.skeleton import FINGER_JOINTS, JOINT_NAMES, WRIST, joint_colour
from training.evaluation.conventions import ALIGNMENT_TITLES
from training.evaluation.scores import SplitScores

_CURVES: Final = {"root_relative": ACCENT, "root_scale": CONTRAST, "procrustes": SERIES[2]}


def pck_curves(scores: SplitScores, mean_pose: SplitScores | None) -> Figure:
    """Share of joints within 0 to 50 mm; the mean pose of the training split beside it, dashed."""
    thresholds = PCK_0_50.thresholds_mm
    with figure(6.4, 3.9) as drawn:
        axes = drawn.subplots()
        for name, colour in _CURVES.items():
            found = scores.alignments[name]
            label = f"{ALIGNMENT_TITLES[name]}: AUC {found.auc_0_50:.3f}"
            if mean_pose is not None:
                floor = mean_pose.alignments[name]
                label += f" (mean pose {floor.auc_0_50:.3f})"
                axes.plot(thresholds, floor.pck_0_50, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
            axes.plot(thresholds, found.pck_0_50, color=colour, linewidth=2, label=label)
        handles, _ = axes.get_legend_handles_labels()
        if mean_pose is not None:
            handles.append(
                Line2D([], [], color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)), label="mean pose")
            )
        axes.set(
            title="Joints within a distance of the truth",
            xlabel="distance (mm)",
            ylabel="share of joints",
            xlim=(0, 50),
            ylim=(0, 1),
        )
        # Below: curves of good and of bad estimators leave no common corner free.
        drawn.legend(handles=handles, loc="outside lower left", fontsize=9)
    return drawn


def joint_errors(
    scores: SplitScores, mean_pose: SplitScores | None, alignment: str = "root_relative"
) -> Figure:
    """Mean error of each joint, in its finger's colour; that of the mean pose as a line across its bar."""
    errors = _as_array(scores.alignments[alignment].joint_mpjpe_mm)
    places = _places()
    with figure(7.2, 3.6) as drawn:
        axes = drawn.subplots()
        colours = ["#b8bdc8" if joint == WRIST else _hex(joint_colour(joint)) for joint in range(len(errors))]
        axes.bar(places, errors, color=colours, width=0.8)
        if mean_pose is not None:
            floor = _as_array(mean_pose.alignments[alignment].joint_mpjpe_mm)
            axes.hlines(floor, places - 0.4, places + 0.4, color="#3a3f4a", linewidth=1.5, label="mean pose")
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
        axes.set_xticks(places, [name.split("_")[-1] for name in JOINT_NAMES], rotation=60, ha="right")
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set(title=f"Error of each joint, {ALIGNMENT_TITLES[alignment]}", ylabel="mean error (mm)")
        top = axes.get_ylim()[1] * 1.14
        axes.set_ylim(0, top)
        for finger, joints in FINGER_JOINTS.items():
            middle = float(places[list(joints)].mean())
            axes.text(middle, top * 0.985, finger, ha="center", va="top", color="#3a3f4a")
    return drawn


def _places() -> NDArray[np.float64]:
    """Where the joints' bars stand, a gap before each finger."""
    return np.array(
        [joint + (0 if joint == WRIST else (joint + 3) // 4 * 0.7) for joint in range(len(JOINT_NAMES))]
    )


def _as_array(errors: tuple[float | None, ...]) -> NDArray[np.float64]:
    return np.array([np.nan if error is None else error for error in errors])


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)

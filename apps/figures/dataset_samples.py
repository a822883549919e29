"""Hands of a labelled dataset with their true joints, to be looked at."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apps.figures.bones import draw_bones
from apps.figures.style import FAINT, figure
from handsim.geometry import apply_affine, box_around, crop_affine, cut_crop, square_around
from handsim.skeleton import JOINT_COUNT
from training.datasets.record import LabelledHand

_COLUMNS: Final = 5
_INCHES: Final = 1.6
_SIDE_VIEW: Final = 0.62
"""Width of the view from the side, in crops."""
_CROP_PX: Final = 224
_ENLARGEMENT: Final = 1.75
_REACH_MM: Final = 120.0
_SHORTEST_PX: Final = 16.0
"""Joints that all but coincide are shown with so much around them."""
_KEY: Final = (
    "left hands are mirrored, as everywhere in handsim; beside each picture the 3D joints from the side, the "
    "camera on the left"
)


def dataset_samples(samples: Sequence[LabelledHand]) -> Figure:
    """Each hand's crop with its 2D joints, and its 3D joints from the side; a colour a finger, thumb red."""
    rows = max(1, -(-len(samples) // _COLUMNS))
    ratios = [1.0, _SIDE_VIEW] * _COLUMNS
    with figure(sum(ratios) * _INCHES + 0.2, rows * (_INCHES + 0.5) + 0.35) as drawn:
        grid = drawn.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for number, sample in enumerate(samples):
            row, column = divmod(number, _COLUMNS)
            _draw_picture(grid[row, 2 * column], sample)
            _draw_side(grid[row, 2 * column + 1], sample)
        drawn.set_layout_engine("constrained", h_pad=0.2, hspace=0)
        drawn.supxlabel(_KEY, fontsize=8.5)
    return drawn


def _draw_picture(axes: Axes, sample: LabelledHand) -> None:
    """The crop, or the whole picture of a hand without an annotated joint."""
    shown = sample.valid & np.isfinite(sample.keypoints_2d_px).all(axis=1)
    box = np.array([0.0, 0.0, *sample.size_px])
    if shown.any():
        box = box_around(sample.keypoints_2d_px[shown])
        short = np.maximum(_SHORTEST_PX - (box[2:] - box[:2]), 0) / 2
        box = np.concatenate([box[:2] - short, box[2:] + short])
    square = square_around(box, _ENLARGEMENT if shown.any() else 1.0)
    axes.imshow(cut_crop(sample.image, square, _CROP_PX), extent=(0, _CROP_PX, _CROP_PX, 0))
    points = apply_affine(crop_affine(square, _CROP_PX), sample.keypoints_2d_px)
    draw_bones(axes, points, shown, colour="#202228", width=2.4)
    draw_bones(axes, points, shown, colour=None, width=1.5)
    axes.set(xlim=(0, _CROP_PX), ylim=(_CROP_PX, 0))
    missing = int((~sample.valid).sum())
    axes.set_title(sample.side + (f", {missing} of {JOINT_COUNT} missing" if missing else ""), fontsize=9)
    folder, _, name = sample.sample_id.partition("/")
    below = f"{_shortened(folder)}\n{_shortened(name)}"
    words = axes.text(0, -0.03, below, transform=axes.transAxes, va="top", fontsize=6.5, color=FAINT)
    words.set_in_layout(False)  # it may reach below the view beside it


def _draw_side(axes: Axes, sample: LabelledHand) -> None:
    """Orthographic: what is away from the camera stands to the right."""
    if not sample.valid.any():
        return
    joints = sample.joints_3d_mm[:, (2, 1)]
    middle = (joints[sample.valid].min(axis=0) + joints[sample.valid].max(axis=0)) / 2
    draw_bones(axes, joints - middle, sample.valid, colour=None, width=1.4)
    # Larger only where it has to be: so sizes of hands can be compared.
    reach = max(_REACH_MM, 1.05 * float(np.abs((joints - middle)[sample.valid] / (_SIDE_VIEW, 1)).max()))
    axes.set(xlim=(-reach * _SIDE_VIEW, reach * _SIDE_VIEW), ylim=(reach, -reach), aspect="equal")


def _shortened(words: str, most: int = 36) -> str:
    return words if len(words) <= most else f"{words[: most // 2 - 1]}…{words[-most // 2 :]}"

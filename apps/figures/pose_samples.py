"""Hands with what was predicted of them and what is true, on their crops and in 3D."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apps.figures.bones import draw_bones
from apps.figures.style import FAINT, figure

_PANELS: Final = ("", "from the side", "from above")
"""What stands below the last row's; of the picture nothing need be said."""
_PANEL_INCHES: Final = 1.55
_TRUE_COLOUR: Final = "#9aa0ac"
_GRID_MM: Final = 50.0
_GAP: Final = 0.12
"""Between two samples, in panels."""
_KEY: Final = (
    f"predicted in colours, true in white and grey; 3D relative to the wrist, squares of {_GRID_MM:g} mm"
)
# Axis across, axis up and the sign of what is up: x right, y down, z away from the camera.
_VIEWS: Final = (((2, 1), (1, -1)), ((0, 2), (1, 1)))


@dataclass(frozen=True, eq=False)
class DrawnSample:
    """One hand, as a right one."""

    caption: str
    """What stands above it."""
    sample_id: str
    """As the dataset names it."""
    crop: NDArray[np.uint8]
    """[S, S, 3] RGB."""
    predicted_2d: NDArray[np.floating]
    """[21, 2] in the crop's unit square."""
    true_2d: NDArray[np.floating]
    """[21, 2] in the crop's unit square."""
    predicted_mm: NDArray[np.floating]
    """[21, 3] relative to the wrist."""
    true_mm: NDArray[np.floating]
    """[21, 3] relative to the wrist."""
    valid: NDArray[np.bool_]
    """[21] which true joints are drawn."""


def pose_samples(rows: Sequence[tuple[str, Sequence[DrawnSample]]]) -> Figure:
    """Rows of samples under their titles, three panels each: the crop, and two views of the hand in 3D."""
    columns = max(len(samples) for _, samples in rows)
    ratios = ([1.0] * len(_PANELS) + [_GAP]) * columns
    width, height = sum(ratios) * _PANEL_INCHES + 0.2, len(rows) * (_PANEL_INCHES + 0.5) + 0.35
    with figure(width, height) as drawn:
        grid = drawn.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for (title, samples), line in zip(rows, grid, strict=True):
            for number, sample in enumerate(samples):
                first = number * (len(_PANELS) + 1)
                _draw_crop(line[first], sample, f"{title}: {sample.caption}")
                for axes, (axis, sign) in zip(line[first + 1 :], _VIEWS, strict=False):
                    _draw_3d(axes, sample, axis, sign)
        for axes, name in zip(grid[-1], (*_PANELS, "") * columns, strict=True):
            _write_below(axes, name, 8, "#3a3f4a")
        drawn.supxlabel(_KEY, fontsize=8.5)
    return drawn


def _draw_crop(axes: Axes, sample: DrawnSample, title: str) -> None:
    size = len(sample.crop)
    axes.imshow(sample.crop, extent=(0, size, size, 0))
    draw_bones(axes, sample.true_2d * size, sample.valid, colour="white", width=2.4)
    draw_bones(axes, sample.predicted_2d * size, None, colour="#202228", width=2.2)
    draw_bones(axes, sample.predicted_2d * size, None, colour=None, width=1.4)
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_title(title, fontsize=9)
    _write_below(axes, sample.sample_id, 6.5, FAINT)


def _draw_3d(axes: Axes, sample: DrawnSample, axis: tuple[int, int], sign: tuple[int, int]) -> None:
    """Orthographic: what lies along the third axis is not seen."""
    true, predicted = (joints[:, axis] * np.array(sign) for joints in (sample.true_mm, sample.predicted_mm))
    together = np.concatenate([true[sample.valid], predicted])
    middle = (together.min(axis=0) + together.max(axis=0)) / 2
    # Larger only where it has to be: so sizes and errors of most hands can be compared.
    reach = max(110.0, float(np.abs(together - middle).max()) * 1.05)
    axes.set_axis_on()
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
    axes.set_aspect("equal")
    for place, low in ((axes.set_xticks, middle[0] - reach), (axes.set_yticks, middle[1] - reach)):
        place(np.arange(np.ceil(low / _GRID_MM) * _GRID_MM, low + 2 * reach, _GRID_MM))
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)
    draw_bones(axes, true, sample.valid, colour=_TRUE_COLOUR, width=2.6)
    draw_bones(axes, predicted, None, colour=None, width=1.4)


def _write_below(axes: Axes, words: str, size: float, colour: str) -> None:
    axes.text(0, -0.03, words, transform=axes.transAxes, va="top", fontsize=size, color=colour)

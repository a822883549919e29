"""A hand's bones as lines."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from handsim.skeleton import BONES, joint_colour


def draw_bones(
    axes: Axes,
    joints: NDArray[np.floating],
    valid: NDArray[np.bool_] | None,
    *,
    colour: str | None,
    width: float,
) -> None:
    """Bones between joints [21, 2] in one colour, or in those of the fingers; ``valid`` [21] are drawn."""
    for parent, child in BONES:
        if valid is None or (valid[parent] and valid[child]):
            own = tuple(channel / 255 for channel in joint_colour(child))
            axes.plot(
                *joints[[parent, child]].T,
                color=colour or own,
                linewidth=width,
                solid_capstyle="round",
            )

"""Poses to begin with where a hand is drawn: a right hand, seen from its palm."""

from functools import cache
from typing import Final

import numpy as np

from apps.browser.search.question import pose_of

PRESETS: Final = {"Flat": "flat", "Fist": "fist", "Point": "point", "Pinch": "pinch", "OK": "ok"}
"""What people call them -> the synthetic hands' prototype."""


@cache
def preset(name: str) -> tuple[int, ...]:
    """The pose of a preset, as `apps.browser.search.question.Question.pose` has it: an average adult's."""
    from handsim.synthetic.camera import PALM_TO_CAMERA, squares_around
    from handsim.synthetic.kinematics import bend
    from handsim.synthetic.motion import PROTOTYPE_ANGLES
    from handsim.synthetic.person import AVERAGE_SHAPE

    joints_mm = bend(AVERAGE_SHAPE, PROTOTYPE_ANGLES[PRESETS[name]][None]).joints_mm @ PALM_TO_CAMERA.T
    places = joints_mm[..., :2]  # from far away
    square = squares_around(places)[0]
    return pose_of((places[0] - square[:2]) / np.array(square[2] - square[0]))

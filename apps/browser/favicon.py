"""The small picture on the window's tab."""

from functools import cache
from typing import Final

from PIL import Image

from apps.browser.search.answer import make_preset
from apps.browser.search.question import Question
from handsim.drawing import draw_skeleton

_SIDE_PX: Final = 64
_PAPER: Final = (0, 110, 140)


@cache
def favicon() -> Image.Image:
    """A flat hand's skeleton."""
    hand = Question(pose=make_preset("Flat")).keypoints()
    return draw_skeleton(Image.new("RGB", (_SIDE_PX, _SIDE_PX), _PAPER), hand)

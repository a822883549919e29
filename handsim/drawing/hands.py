"""All hands of a photograph drawn over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from handsim.drawing.skeleton import draw_skeleton
from handsim.geometry import box_around

LONGEST_SIDE_PX: Final = 1600
"""Larger photographs are drawn on smaller copies: enough for people, and quickly drawn."""
_MARGIN: Final = 0.15
"""Around a hand, in its longer sides: the skeleton's lines are as thick as for a crop of it."""
_FONT_SHARE: Final = 1 / 45
_LEAST_FONT_PX: Final = 11
_CAPTION_PAPER: Final = (20, 20, 20)
_CAPTION_INK: Final = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class HandDrawing:
    """One hand of a photograph."""

    keypoints_px: NDArray[np.floating]
    """[21, 2 or 3] in the photograph's pixels; see `draw_skeleton` for z."""
    caption: str = ""
    """What stands above it; nothing where empty."""


def draw_hands(image: NDArray[np.uint8], hands: Sequence[HandDrawing]) -> Image.Image:
    """A copy of a photograph [H, W, 3] (RGB), no longer than `LONGEST_SIDE_PX`, with hands drawn over it.

    What lies outside the photograph is cut off.
    """
    drawn = Image.fromarray(image)
    scale = min(1.0, LONGEST_SIDE_PX / max(drawn.size))
    if scale < 1:
        size = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
        drawn = drawn.resize(size, Image.Resampling.BOX)
    font = ImageFont.load_default(max(_LEAST_FONT_PX, round(min(drawn.size) * _FONT_SHARE)))
    for hand in hands:
        points = hand.keypoints_px * scale
        box = box_around(points)
        margin = _MARGIN * float((box[2:] - box[:2]).max())
        left, top = np.floor(np.maximum(box[:2] - margin, 0)).astype(int).tolist()
        right, bottom = np.ceil(np.minimum(box[2:] + margin, drawn.size)).astype(int).tolist()
        if right <= left or bottom <= top:
            continue
        inside = points.copy()
        inside[:, :2] = (points[:, :2] - [left, top]) / [right - left, bottom - top]
        region = drawn.crop((left, top, right, bottom))
        drawn.paste(draw_skeleton(region, inside), (left, top))
        if hand.caption:
            _write(ImageDraw.Draw(drawn), (left, top), hand.caption, font)
    return drawn


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    caption: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Above the hand, or in its upper corner where there is no room above."""
    left, _, right, bottom = draw.textbbox((0, 0), caption, font=font)
    x, y = corner[0], max(0, corner[1] - round(bottom) - 4)
    draw.rectangle((x, y, x + right - left + 6, y + bottom + 4), fill=_CAPTION_PAPER)
    draw.text((x + 3, y + 2), caption, font=font, fill=_CAPTION_INK)

"""Hands drawn over pictures: one over its crop, all over a photograph, and a query beside its neighbours.

The montage is laid out as SiMHand's figure 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from handsim.geometry import box_around
from handsim.hand import labelled_joints
from handsim.skeleton import BONES, JOINT_COUNT, joint_colour

_OVERSAMPLING: Final = 3
"""Pillow draws without anti-aliasing; drawn larger and shrunk, lines are smooth."""
_BONE_WIDTH: Final = 1 / 55
_JOINT_RADIUS: Final = 1 / 60
_OUTLINE: Final = (20, 20, 20, 200)

LONGEST_SIDE_PX: Final = 1600
"""Larger photographs are drawn on smaller copies: enough for people, and quickly drawn."""
_MARGIN: Final = 0.15
"""Around a hand, in its longer sides: the skeleton's lines are as thick as for a crop of it."""
_FONT_SHARE: Final = 1 / 45
_LEAST_FONT_PX: Final = 11
_CAPTION_PAPER: Final = (20, 20, 20)
_CAPTION_INK: Final = (255, 255, 255)

_TILE_PX: Final = 168
_GAP_PX: Final = 10
_QUERY_GAP_PX: Final = 30
_LINE_PX: Final = 17
_FONT_PX: Final = 13
_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 32, 38)
_FAINT: Final = (110, 115, 125)
_EMPTY: Final = (236, 238, 242)
_ACCENT: Final = (0, 110, 140)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_skeleton(image: Image.Image, keypoints: NDArray[np.floating]) -> Image.Image:
    """A copy of an RGB picture with a hand drawn over it: each finger in its colour, with dark rims.

    ``keypoints`` [21, 2 or 3] lie in the picture's unit square. Where z is given, nearer bones are drawn
    over farther ones. Unlabelled joints (NaN) and their bones are not drawn.
    """
    size = (image.width * _OVERSAMPLING, image.height * _OVERSAMPLING)
    overlay = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(overlay)
    points = keypoints[:, :2] * np.array(size)
    depth = keypoints[:, 2] if keypoints.shape[1] == 3 else np.zeros(JOINT_COUNT)
    scale = min(size)
    width = max(2, round(scale * _BONE_WIDTH))
    is_labelled = labelled_joints(keypoints)
    bones = [bone for bone in BONES if is_labelled[list(bone)].all()]
    for parent, child in sorted(bones, key=lambda bone: -float(depth[bone[0]] + depth[bone[1]])):
        line = [tuple(points[parent]), tuple(points[child])]
        draw.line(line, fill=_OUTLINE, width=width + 2 * _OVERSAMPLING)
        draw.line(line, fill=(*joint_colour(child), 255), width=width)
    radius = scale * _JOINT_RADIUS
    for joint in np.argsort(-depth, kind="stable"):
        if not is_labelled[joint]:
            continue
        x, y = points[joint]
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=(*joint_colour(int(joint)), 255), outline=_OUTLINE, width=_OVERSAMPLING)
    picture = image.convert("RGBA")
    picture.alpha_composite(overlay.resize(image.size, Image.Resampling.BOX))
    return picture.convert("RGB")


@dataclass(frozen=True, eq=False)
class HandDrawing:
    """One hand of a photograph."""

    keypoints_px: NDArray[np.floating]
    """[21, 2 or 3] in the photograph's pixels; see `draw_skeleton` for z."""
    caption: str = ""
    colour: tuple[int, int, int] = _CAPTION_PAPER
    """The ground of the caption, on which white letters can be read."""


def draw_hands(image: NDArray[np.uint8], hands: Sequence[HandDrawing]) -> Image.Image:
    """A copy of a photograph [H, W, 3] (RGB), no longer than `LONGEST_SIDE_PX`, with hands drawn over it."""
    picture = Image.fromarray(image)
    scale = min(1.0, LONGEST_SIDE_PX / max(picture.size))
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BOX)
    font = ImageFont.load_default(max(_LEAST_FONT_PX, round(min(picture.size) * _FONT_SHARE)))
    for hand in hands:
        points = hand.keypoints_px * scale
        box = box_around(points[labelled_joints(points)])
        margin = _MARGIN * float((box[2:] - box[:2]).max())
        left, top = np.floor(np.maximum(box[:2] - margin, 0)).astype(int).tolist()
        right, bottom = np.ceil(np.minimum(box[2:] + margin, picture.size)).astype(int).tolist()
        if right <= left or bottom <= top:
            continue
        points[:, :2] = (points[:, :2] - [left, top]) / [right - left, bottom - top]
        region = picture.crop((left, top, right, bottom))
        picture.paste(draw_skeleton(region, points), (left, top))
        if hand.caption:
            _write_caption(ImageDraw.Draw(picture), (left, top), hand, font)
    return picture


def _write_caption(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], hand: HandDrawing, font: _Font
) -> None:
    """Above the hand, or in its upper corner where there is no room above."""
    left, _, right, bottom = draw.textbbox((0, 0), hand.caption, font=font)
    x, y = corner[0], max(0, corner[1] - round(bottom) - 4)
    draw.rectangle((x, y, x + right - left + 6, y + bottom + 4), fill=hand.colour)
    draw.text((x + 3, y + 2), hand.caption, font=font, fill=_CAPTION_INK)


@dataclass(frozen=True, eq=False)
class Tile:
    """One hand of a montage."""

    crop: NDArray[np.uint8] | None
    """RGB [S, S, 3]; None draws the skeleton alone, for hands without a picture."""
    keypoints: NDArray[np.floating] | None
    """[21, 2 or 3] in the crop's unit square; None draws no skeleton."""
    caption: tuple[str, ...]
    """Lines below it, the first one bold in ink, the rest faint."""


@dataclass(frozen=True, eq=False)
class MontageRow:
    """One query and its neighbours."""

    query: Tile
    neighbors: Sequence[Tile]
    """Nearest first."""


def montage(rows: Sequence[MontageRow], *, columns: int | None = None) -> Image.Image:
    """A row for each query: the query framed on the left, then its neighbours, each with its caption.

    With ``columns`` neighbours go on in further rows after that many.
    """
    lines = max(len(tile.caption) for row in rows for tile in (row.query, *row.neighbors))
    most = max(len(row.neighbors) for row in rows)
    columns = most if columns is None else min(columns, most)
    sheet_rows = [sheet_row for row in rows for sheet_row in _wrap(row, columns)]
    row_height = _TILE_PX + 6 + lines * _LINE_PX + _GAP_PX
    width = 2 * _GAP_PX + _TILE_PX + columns * (_TILE_PX + _GAP_PX)
    if columns:
        width += _QUERY_GAP_PX - _GAP_PX
    sheet = Image.new("RGB", (width, _GAP_PX + len(sheet_rows) * row_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (query, neighbors) in enumerate(sheet_rows):
        top = _GAP_PX + number * row_height
        if query is not None:
            _place(sheet, draw, query, _GAP_PX, top)
            frame = (_GAP_PX - 3, top - 3, _GAP_PX + _TILE_PX + 2, top + _TILE_PX + 2)
            draw.rectangle(frame, outline=_ACCENT, width=3)
        for column, tile in enumerate(neighbors):
            left = _GAP_PX + _TILE_PX + _QUERY_GAP_PX + column * (_TILE_PX + _GAP_PX)
            _place(sheet, draw, tile, left, top)
    return sheet


def draw_grid(rows: Sequence[Sequence[Tile | None]]) -> Image.Image:
    """Tiles in rows, each with its caption; None leaves its place empty."""
    lines = max((len(tile.caption) for row in rows for tile in row if tile is not None), default=0)
    step = (_TILE_PX + _GAP_PX, _TILE_PX + 6 + lines * _LINE_PX + _GAP_PX)
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (_GAP_PX + columns * step[0], _GAP_PX + len(rows) * step[1]), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            if tile is not None:
                _place(sheet, draw, tile, _GAP_PX + column * step[0], _GAP_PX + number * step[1])
    return sheet


def _wrap(row: MontageRow, columns: int) -> list[tuple[Tile | None, Sequence[Tile]]]:
    """The rows of the sheet that one query takes; the query stands in the first."""
    starts = range(0, max(1, len(row.neighbors)), max(1, columns))
    return [(None if start else row.query, row.neighbors[start : start + columns]) for start in starts]


def _place(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    if tile.crop is None:
        picture = Image.new("RGB", (_TILE_PX, _TILE_PX), _EMPTY)
    else:
        picture = Image.fromarray(tile.crop).resize((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS)
    if tile.keypoints is not None:
        picture = draw_skeleton(picture, tile.keypoints)
    sheet.paste(picture, (left, top))
    font = ImageFont.load_default(_FONT_PX)
    for number, line in enumerate(tile.caption):
        place = (left, top + _TILE_PX + 6 + number * _LINE_PX)
        draw.text(place, _shorten(line, font), font=font, fill=_INK if number == 0 else _FAINT)


def _shorten(line: str, font: _Font) -> str:
    """The line, shortened in the middle until it is no wider than a tile."""
    text, length = line, len(line)
    while font.getlength(text) > _TILE_PX and length > 4:
        length -= 1
        text = f"{line[: (length + 1) // 2]}…{line[len(line) - length // 2 :]}"
    return text

"""A query and its neighbours side by side, as in SiMHand's figure 2."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from handsim.drawing.skeleton import draw_skeleton

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
    """One query and what was found for it."""

    query: Tile
    neighbors: Sequence[Tile]
    """Nearest first."""


def montage(rows: Sequence[MontageRow], *, columns: int | None = None) -> Image.Image:
    """A row a query: the query framed on the left, then its neighbours, each with its caption.

    With ``columns`` neighbours go on in further rows after that many.
    """
    tiles = [tile for row in rows for tile in (row.query, *row.neighbors)]
    lines = max(len(tile.caption) for tile in tiles)
    most = max(len(row.neighbors) for row in rows)
    columns = most if columns is None else min(columns, most)
    shown = [line for row in rows for line in _wrapped(row, columns)]
    row_height = _TILE_PX + 6 + lines * _LINE_PX + _GAP_PX
    width = (
        2 * _GAP_PX + _TILE_PX + columns * (_TILE_PX + _GAP_PX) + (_QUERY_GAP_PX - _GAP_PX if columns else 0)
    )
    sheet = Image.new("RGB", (width, _GAP_PX + len(shown) * row_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (query, neighbors) in enumerate(shown):
        top = _GAP_PX + number * row_height
        if query is not None:
            _place(sheet, draw, query, _GAP_PX, top)
            frame = (_GAP_PX - 3, top - 3, _GAP_PX + _TILE_PX + 2, top + _TILE_PX + 2)
            draw.rectangle(frame, outline=_ACCENT, width=3)
        for column, tile in enumerate(neighbors):
            left = _GAP_PX + _TILE_PX + _QUERY_GAP_PX + column * (_TILE_PX + _GAP_PX)
            _place(sheet, draw, tile, left, top)
    return sheet


def _wrapped(row: MontageRow, columns: int) -> list[tuple[Tile | None, Sequence[Tile]]]:
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
    for number, line in enumerate(tile.caption):
        place = (left, top + _TILE_PX + 6 + number * _LINE_PX)
        font = ImageFont.load_default(_FONT_PX)
        draw.text(place, _fitted(line, font), font=font, fill=_INK if number == 0 else _FAINT)


def _fitted(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The line, shortened in the middle until it is no wider than a tile."""
    text, keep = line, len(line)
    while font.getlength(text) > _TILE_PX and keep > 4:
        keep -= 1
        text = f"{line[: (keep + 1) // 2]}…{line[len(line) - keep // 2 :]}"
    return text

"""The pictures in which a detector errs most, with what is labelled and what it found drawn over them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from handsim.drawing import HandDrawing, draw_hands
from handsim.errors import UnusableError
from handsim.hand import SIDES
from handsim.images import decode_picture
from handsim.metrics.detection import PictureMatch, TrueHand, joint_errors, longer_side

WORST: Final = 20
_COLUMNS: Final = 5
_TILE_PX: Final = 320
_GAP_PX: Final = 12
_LINE_PX: Final = 18
_FONT_PX: Final = 14
_FAR_OFF: Final = 0.1
"""Mean error from which joints count as a mistake, in longer sides of the box."""
_INK, _FAINT, _PAPER, _EMPTY = (30, 32, 38), (110, 115, 125), (255, 255, 255), (236, 238, 242)

FOUND: Final = (40, 170, 90)
MISSED: Final = (225, 45, 45)
DOUBLED: Final = (245, 150, 20)
FALSE: Final = (205, 60, 220)
IGNORED: Final = (150, 150, 150)
_LEGEND: Final = (
    ("labelled and found", FOUND),
    ("missed", MISSED),
    ("found twice", DOUBLED),
    ("false", FALSE),
    ("not asked for", IGNORED),
)


def draw_worst(pictures: Sequence[tuple[Path, PictureMatch]], count: int = WORST) -> Image.Image | None:
    """A sheet of the worst ``count`` pictures, the worst first; None where nothing went wrong.

    Boxes are those of labels (green or red) and of mistaken detections; skeletons are what was found.
    """
    ranked = sorted(pictures, key=lambda one: -_gravity(one[1]))
    worst = [one for one in ranked[:count] if _gravity(one[1]) > 0]
    if not worst:
        return None
    columns = min(_COLUMNS, len(worst))
    rows = -(-len(worst) // columns)
    row_px = _TILE_PX + 2 * _LINE_PX + _GAP_PX
    width = max(_GAP_PX + columns * (_TILE_PX + _GAP_PX), 560)
    top_px = _LINE_PX + 2 * _GAP_PX
    sheet = Image.new("RGB", (width, top_px + rows * row_px), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    left = float(_GAP_PX)
    for name, colour in _LEGEND:
        draw.rectangle((left, _GAP_PX + 2, left + 13, _GAP_PX + 15), outline=colour, width=3)
        draw.text((left + 20, _GAP_PX), name, fill=_INK, font=font)
        left += 20 + font.getlength(name) + 2 * _GAP_PX
    for number, (path, match) in enumerate(worst):
        x = _GAP_PX + number % columns * (_TILE_PX + _GAP_PX)
        y = top_px + number // columns * row_px
        sheet.paste(_draw_tile(path, match), (x, y))
        for line, (text, ink) in enumerate(
            ((", ".join(describe_mistakes(match)), _INK), (path.name, _FAINT))
        ):
            draw.text((x, y + _TILE_PX + 2 + line * _LINE_PX), _shorten(text, font), fill=ink, font=font)
    return sheet


def describe_mistakes(match: PictureMatch) -> list[str]:
    """What went wrong in a picture, in words: ``2 missed``, ``wrong side``, ``joints 12 % off``."""
    counts = {
        "missed": len(_missed(match)),
        "found twice": sum(number is not None for number in match.doubles),
        "false": sum(match.is_false),
        "of the wrong side": _wrong_sides(match),
    }
    words = [f"{count} {what}" for what, count in counts.items() if count]
    error = _worst_error(match)
    return [*words, f"joints {100 * error:.0f} % off"] if error >= _FAR_OFF else words


def _gravity(match: PictureMatch) -> float:
    """How bad a picture is: a hand that is missed, false or found twice counts 1, a wrong side less."""
    mistakes = len(_missed(match)) + sum(number is not None for number in match.doubles) + sum(match.is_false)
    error = _worst_error(match)
    return mistakes + 0.5 * _wrong_sides(match) + (min(error, 0.5) if error >= _FAR_OFF else 0.0)


def _missed(match: PictureMatch) -> list[TrueHand]:
    pairs = zip(match.hands, match.found_by, strict=True)
    return [hand for hand, by in pairs if by is None and not hand.is_ignored]


def _wrong_sides(match: PictureMatch) -> int:
    return sum(
        hand.side in SIDES and found.side in SIDES and hand.side != found.side for hand, found in match.found
    )


def _worst_error(match: PictureMatch) -> float:
    """The largest mean joint error of a hand found, in longer sides of its box; 0 without labelled joints."""
    errors = [joint_errors(found, hand) for hand, found in match.found]
    return max((float(np.nanmean(some)) for some in errors if not np.isnan(some).all()), default=0.0)


def _draw_tile(path: Path, match: PictureMatch) -> Image.Image:
    """A square cut out around all hands, labelled and found."""
    tile = Image.new("RGB", (_TILE_PX, _TILE_PX), _EMPTY)
    try:
        picture = decode_picture(path)
    except (UnusableError, OSError):  # it could be read a moment ago
        return tile
    boxes = [*(hand.box_px for hand in match.hands), *(found.box_px for found in match.detections)]
    low, high = _window(np.array(boxes), match.size_px)
    scale = _TILE_PX / float((high - low).max())
    first, last = (np.round(corner * picture.scale).astype(int) for corner in (low, high))
    region = Image.fromarray(picture.pixels[first[1] : last[1], first[0] : last[0]])
    size = np.maximum(np.round((high - low) * scale).astype(int), 1)
    region = region.resize((int(size[0]), int(size[1])), Image.Resampling.LANCZOS)
    drawings = [HandDrawing((found.keypoints_px[:, :2] - low) * scale) for found in match.detections]
    drawn = draw_hands(np.asarray(region), drawings)
    draw = ImageDraw.Draw(drawn)
    for box_px, colour in _boxes(match):
        corners = ((box_px.reshape(2, 2) - low) * scale).ravel().tolist()
        draw.rectangle(corners, outline=colour, width=2)
    tile.paste(drawn, ((_TILE_PX - drawn.width) // 2, (_TILE_PX - drawn.height) // 2))
    return tile


def _window(boxes: NDArray[np.floating], size_px: tuple[int, int]) -> tuple[NDArray[np.float64], ...]:
    """The part of a picture to show: all boxes and a margin around them, or the whole picture."""
    size = np.array(size_px, dtype=np.float64)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = 0.25 * float((high - low).max()) + 0.25 * max(longer_side(box) for box in boxes)
    low, high = np.clip(np.floor(low - margin), 0, size - 1), np.clip(np.ceil(high + margin), 1, size)
    return low, np.maximum(high, low + 1)


def _boxes(match: PictureMatch) -> list[tuple[NDArray[np.floating], tuple[int, int, int]]]:
    drawn: list[tuple[NDArray[np.floating], tuple[int, int, int]]] = []
    for hand, by in zip(match.hands, match.found_by, strict=True):
        drawn.append((hand.box_px, IGNORED if hand.is_ignored else MISSED if by is None else FOUND))
    for found, double, is_false in zip(match.detections, match.doubles, match.is_false, strict=True):
        if double is not None or is_false:
            drawn.append((found.box_px, FALSE if is_false else DOUBLED))
    return drawn


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, cut until it is no wider than a tile."""
    if font.getlength(text) <= _TILE_PX:
        return text
    while text and font.getlength(f"{text}…") > _TILE_PX:
        text = text[:-1]
    return f"{text}…"

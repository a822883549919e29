"""A page that stands alone: numbers, figures and montages in one HTML file.

The pose space laid flat, so that one can look at it.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from apps.cli.figures import DPI, FAINT, SERIES, new_figure
from handsim.files import write_text_atomically

_PAGE: Final = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Picture:
    """A picture in the page."""

    data: bytes
    """The encoded picture."""
    alt: str
    """What it shows, for those who cannot see it."""
    kind: str
    """``png`` or ``jpeg``."""

    @classmethod
    def of_figure(cls, figure: Figure, alt: str) -> "Picture":
        """A matplotlib figure."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
        return cls(buffer.getvalue(), alt, "png")

    @classmethod
    def of_image(cls, image: Image.Image, alt: str) -> "Picture":
        """A photograph or montage, as JPEG."""
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=88)
        return cls(buffer.getvalue(), alt, "jpeg")

    def to_html(self) -> str:
        """An ``img`` that carries its own bytes."""
        data = base64.b64encode(self.data).decode()
        return f'<img alt="{escape(self.alt)}" src="data:image/{self.kind};base64,{data}">'


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two, and pictures or commands below."""

    heading: str
    text: str
    pictures: Sequence[Picture] = ()
    commands: str = ""


def write_report(
    path: Path, title: str, subtitle: str, numbers: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> None:
    """Write the page, atomically; ``numbers`` are (value, what it is)."""
    tiles = "".join(
        f'<div class="number"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in numbers
    )
    body = f'<div class="numbers">{tiles}</div>' + "".join(_section(section) for section in sections)
    page = Template(_PAGE.read_text("utf-8")).substitute(
        title=escape(title), subtitle=escape(subtitle), body=body
    )
    write_text_atomically(path, page)


def _section(section: Section) -> str:
    pictures = "".join(f'<div class="wide">{picture.to_html()}</div>' for picture in section.pictures)
    layout = f'<div class="pair">{pictures}</div>' if len(section.pictures) > 1 else pictures
    commands = f"<pre>{escape(section.commands)}</pre>" if section.commands else ""
    return f"<h2>{escape(section.heading)}</h2><p>{escape(section.text)}</p>{layout}{commands}"


_NAME_GAP = (0.11, 0.045)
"""Names stand at least this share of the map's width or height apart."""
_TRIED_PLACES = 40


def pose_map(places: NDArray[np.floating], labels: Sequence[str | None]) -> Figure:
    """Hands at their places [N, 2], coloured and named by label where they have one."""
    with new_figure(7.5, 6.0) as figure:
        axes = figure.subplots()
        given = np.array([label or "" for label in labels])
        unlabelled = given == ""
        taken: list[NDArray[np.floating]] = []
        gap = (np.ptp(places, axis=0) * _NAME_GAP).astype(np.float64)
        axes.scatter(places[unlabelled, 0], places[unlabelled, 1], s=4, color=FAINT, alpha=0.4, linewidths=0)
        for number, label in enumerate(sorted(set(given[~unlabelled]))):
            mine = places[given == label]
            colour = SERIES[number % len(SERIES)]
            axes.scatter(mine[:, 0], mine[:, 1], s=7, color=colour, alpha=0.75, linewidths=0)
            place = _free_place(mine, taken, gap)
            if place is None:
                continue
            taken.append(place)
            axes.annotate(
                label,
                (float(place[0]), float(place[1])),
                ha="center",
                va="center",
                fontsize=8.5,
                bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "alpha": 0.9},
            )
        axes.set(title="A map of the poses: near means alike", xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _free_place(
    mine: NDArray[np.floating], taken: list[NDArray[np.floating]], gap: NDArray[np.float64]
) -> NDArray[np.floating] | None:
    """The hand nearest to a label's middle on which its name covers no other; None when all are covered."""
    outwards = np.argsort(np.linalg.norm(mine - np.median(mine, axis=0), axis=1))
    tried = mine[outwards[:: max(1, len(mine) // _TRIED_PLACES)]]
    return next(
        (place for place in tried if all((np.abs(place - other) > gap).any() for other in taken)), None
    )

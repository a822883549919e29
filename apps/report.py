"""A page that stands alone, one HTML file with numbers, figures and montages; the figure of the pose map."""

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
_JPEG_QUALITY: Final = 88
_NAME_GAP: Final = (0.11, 0.045)
"""Names stand at least this share of the map's width or height apart."""
_MAX_TRIES: Final = 40
"""Places tried for each name."""


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
    def from_figure(cls, figure: Figure, alt: str) -> "Picture":
        """A matplotlib figure, as PNG."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
        return cls(buffer.getvalue(), alt, "png")

    @classmethod
    def from_image(cls, image: Image.Image, alt: str) -> "Picture":
        """A photograph or montage, as JPEG."""
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        return cls(buffer.getvalue(), alt, "jpeg")

    def to_html(self) -> str:
        """An ``img`` that holds its own bytes."""
        data = base64.b64encode(self.data).decode()
        return f'<img alt="{escape(self.alt)}" src="data:image/{self.kind};base64,{data}">'


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two, and pictures or commands below."""

    heading: str
    text: str
    pictures: Sequence[Picture] = ()
    commands: str = ""

    def to_html(self) -> str:
        """Two pictures or more stand side by side where the page is wide enough."""
        pictures = "".join(f'<div class="wide">{picture.to_html()}</div>' for picture in self.pictures)
        layout = f'<div class="pair">{pictures}</div>' if len(self.pictures) > 1 else pictures
        commands = f"<pre>{escape(self.commands)}</pre>" if self.commands else ""
        return f"<h2>{escape(self.heading)}</h2><p>{escape(self.text)}</p>{layout}{commands}"


def write_report(
    path: Path, title: str, subtitle: str, numbers: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> None:
    """Write the page atomically; ``numbers`` are pairs of a value and what it measures."""
    tiles = "".join(
        f'<div class="number"><b>{escape(value)}</b><span>{escape(measure)}</span></div>'
        for value, measure in numbers
    )
    body = f'<div class="numbers">{tiles}</div>' + "".join(section.to_html() for section in sections)
    page = Template(_PAGE.read_text("utf-8"))
    write_text_atomically(path, page.substitute(title=escape(title), subtitle=escape(subtitle), body=body))


def plot_pose_map(points: NDArray[np.floating], labels: Sequence[str | None]) -> Figure:
    """Hands at points [N, 2] of the plane, coloured and named by label if they have one."""
    with new_figure(7.5, 6.0) as figure:
        axes = figure.subplots()
        names = np.array([label or "" for label in labels])
        unlabelled = names == ""
        occupied: list[NDArray[np.floating]] = []
        gap = (np.ptp(points, axis=0) * _NAME_GAP).astype(np.float64)
        axes.scatter(points[unlabelled, 0], points[unlabelled, 1], s=4, color=FAINT, alpha=0.4, linewidths=0)
        for number, name in enumerate(sorted(set(names[~unlabelled]))):
            group = points[names == name]
            colour = SERIES[number % len(SERIES)]
            axes.scatter(group[:, 0], group[:, 1], s=7, color=colour, alpha=0.75, linewidths=0)
            place = _find_free_place(group, occupied, gap)
            if place is None:
                continue
            occupied.append(place)
            axes.annotate(
                name,
                (float(place[0]), float(place[1])),
                ha="center",
                va="center",
                fontsize=8.5,
                bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "alpha": 0.9},
            )
        axes.set(title="A map of the poses: near means alike", xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _find_free_place(
    group: NDArray[np.floating], occupied: list[NDArray[np.floating]], gap: NDArray[np.float64]
) -> NDArray[np.floating] | None:
    """The hand nearest to a group's middle on which its name covers no other; None if all are covered."""
    outwards = np.argsort(np.linalg.norm(group - np.median(group, axis=0), axis=1))
    candidates = group[outwards[:: max(1, len(group) // _MAX_TRIES)]]
    return next(
        (place for place in candidates if all((np.abs(place - other) > gap).any() for other in occupied)),
        None,
    )

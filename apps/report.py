"""A page that stands alone: one HTML file with numbers, figures and montages; the figure of the pose map."""

import base64
import io
from collections.abc import Sequence
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


def figure_to_html(figure: Figure, alt: str) -> str:
    """A matplotlib figure as an ``img`` that holds its own bytes; ``alt`` is for those who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return _embed(buffer, "png", alt)


def image_to_html(image: Image.Image, alt: str) -> str:
    """A photograph or montage as an ``img`` that holds its own bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return _embed(buffer, "jpeg", alt)


def _embed(encoded: io.BytesIO, kind: str, alt: str) -> str:
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{data}">'


def section_to_html(heading: str, text: str, images: Sequence[str] = (), commands: str = "") -> str:
    """A heading and a sentence or two, above images (side by side where there is room) or commands."""
    content = "".join(f'<div class="wide">{image}</div>' for image in images)
    layout = f'<div class="pair">{content}</div>' if len(images) > 1 else content
    code = f"<pre>{escape(commands)}</pre>" if commands else ""
    return f"<h2>{escape(heading)}</h2><p>{escape(text)}</p>{layout}{code}"


def write_report(
    path: Path, title: str, subtitle: str, numbers: Sequence[tuple[str, str]], sections: Sequence[str]
) -> None:
    """Write the page atomically; ``numbers`` are pairs of a value and what it measures."""
    tiles = "".join(
        f'<div class="number"><b>{escape(value)}</b><span>{escape(measure)}</span></div>'
        for value, measure in numbers
    )
    body = f'<div class="numbers">{tiles}</div>{"".join(sections)}'
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

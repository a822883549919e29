"""A page that stands alone: numbers, figures and montages in one HTML file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from matplotlib.figure import Figure
from PIL import Image

from apps.figures.style import DPI
from handsim.atomic_file import write_text_atomically

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

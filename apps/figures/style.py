"""One look for all figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

ACCENT: Final = "#00718f"
CONTRAST: Final = "#c8553d"
FAINT: Final = "#8a909c"
DPI: Final = 144

# Okabe and Ito's colours, told apart with any colour vision; the first two are ours.
SERIES: Final = [
    ACCENT,
    CONTRAST,
    "#e69f00",
    "#009e73",
    "#56b4e9",
    "#cc79a7",
    "#0072b2",
    "#d55e00",
    "#999999",
]

# Any: matplotlib types its settings as one literal of three hundred names.
_SETTINGS: Final[dict[Any, Any]] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelcolor": "#3a3f4a",
    "axes.edgecolor": "#b8bdc8",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ee",
    "xtick.color": "#3a3f4a",
    "ytick.color": "#3a3f4a",
    "font.size": 9.5,
    "legend.frameon": False,
}


@contextmanager
def figure(width: float = 6.0, height: float = 3.4) -> Iterator[Figure]:
    """A figure of the given size in inches, in handsim's style; nothing of matplotlib's own state changes."""
    with mpl.rc_context(_SETTINGS):
        yield Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=DPI, facecolor="white")

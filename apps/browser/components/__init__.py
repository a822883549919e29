"""Streamlit components in Python, CSS and JavaScript: hands in a grid, a skeleton editor, a map, the tray."""

from pathlib import Path

from handsim.errors import HandsimError
from handsim.hand import parse_hand_id

_HERE = Path(__file__).parent


def read_css(name: str) -> str:
    """The style sheet of a component."""
    return (_HERE / f"{name}.css").read_text("utf-8")


def read_scripts(*names: str) -> str:
    """Scripts of a component as one, after the functions that all components share."""
    return "\n".join((_HERE / f"{name}.js").read_text("utf-8") for name in ("dom", *names))


def parse_hand(text: object) -> int | None:
    """The hand that a web browser named; None if it is malformed, which only a forged message is."""
    try:
        return parse_hand_id(str(text))
    except HandsimError:
        return None

"""Streamlit components in Python, CSS and JavaScript: a grid of hands, a skeleton editor, a map canvas."""

from pathlib import Path

_HERE = Path(__file__).parent


def read_css(name: str) -> str:
    """The style sheet of a component."""
    return (_HERE / f"{name}.css").read_text("utf-8")


def read_scripts(*names: str) -> str:
    """Scripts of a component as one, after the functions that all components share."""
    return "\n".join((_HERE / f"{name}.js").read_text("utf-8") for name in ("dom", *names))

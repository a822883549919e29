"""What the browser is told when it starts: its own arguments, behind Streamlit's ``--``."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BrowserSettings:
    """Which home it shows, and what people may do in it."""

    home: Path
    """The directory with the pool and the runs."""
    index: str | None = None
    """The index's address; None: the home's."""
    model: Path | None = None
    """The model that finds hands in uploaded pictures; None: the one in the cache."""
    actions: bool = True
    """Whether versions may be built, published, rolled back and removed from the page."""

    def as_arguments(self) -> list[str]:
        """What `from_arguments` reads back."""
        words = ["--home", str(self.home)]
        if self.index is not None:
            words += ["--index", self.index]
        if self.model is not None:
            words += ["--model", str(self.model)]
        return words if self.actions else [*words, "--read-only"]

    @classmethod
    def from_arguments(cls, words: Sequence[str]) -> "BrowserSettings":
        """The settings out of a command line that `as_arguments` made."""
        parser = argparse.ArgumentParser(prog="apps/browser/server.py")
        parser.add_argument("--home", type=Path, required=True)
        parser.add_argument("--index")
        parser.add_argument("--model", type=Path)
        parser.add_argument("--read-only", action="store_true")
        given = parser.parse_args(list(words))
        return cls(given.home, given.index, given.model, actions=not given.read_only)

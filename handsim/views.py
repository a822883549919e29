"""Saved views of the browser: pages with all that they show, by name, in one file ``views.json`` of a home.

    {"format": 1, "views": [
    {"name": "thumbs, 2 nearest", "address": "mining?top_k=2", "saved_at": "2026-11-30T08:15:00+00:00"},
    ...
    ]}

An address is relative to where the browser is served, so it holds behind a proxy, too.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError, NotThereError, did_you_mean
from handsim.files import FileLock, write_text_atomically

_FORMAT: Final = 1
_LONGEST_NAME: Final = 80
_LONGEST_ADDRESS: Final = 20_000
_MOST_VIEWS: Final = 1_000


@dataclass(frozen=True)
class SavedView:
    name: str
    address: str
    """Path and query, as ``mining?top_k=2``; the search page has no path."""
    saved_at: str
    """ISO 8601, UTC."""


class SavedViews:
    """The views of a home. Processes may change them at the same time: none of their changes is lost."""

    def __init__(self, file: Path) -> None:
        """``file`` is made for the first view."""
        self.file = file

    def read(self) -> list[SavedView]:
        """All of them, in alphabetical order; raises HandsimError for a damaged file."""
        try:
            content = json.loads(self.file.read_text("utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']} is of another version of handsim")
            names = ("name", "address", "saved_at")
            views = [SavedView(*(str(each[name]) for name in names)) for each in content["views"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HandsimError(f"{self.file} cannot be read as saved views: {error}") from error
        return sorted(views, key=lambda view: (view.name.casefold(), view.name))

    def find(self, name: str) -> SavedView:
        """Raises NotThereError for an unknown name."""
        return _find(self.read(), name)

    def save(self, name: str, address: str) -> SavedView:
        """A new view; raises HandsimError for an impossible name, one that is taken, or too much."""
        if len(address) > _LONGEST_ADDRESS:
            raise HandsimError(
                f"the address has {len(address):,} characters; a view's has at most {_LONGEST_ADDRESS:,}"
            )
        with self._changing():
            views = self.read()
            if len(views) >= _MOST_VIEWS:
                raise HandsimError(f"there are {_MOST_VIEWS:,} views already; delete some")
            saved_at = datetime.now(UTC).isoformat(timespec="seconds")
            view = SavedView(_check_name(name, views), address, saved_at)
            self._write([*views, view])
            return view

    def rename(self, name: str, new_name: str) -> SavedView:
        """Raises NotThereError for an unknown name, HandsimError for an impossible or taken new one."""
        with self._changing():
            views = self.read()
            view = _find(views, name)
            others = [each for each in views if each != view]
            renamed = replace(view, name=_check_name(new_name, others))
            self._write([*others, renamed])
            return renamed

    def delete(self, name: str) -> None:
        """Raises NotThereError for an unknown name."""
        with self._changing():
            views = self.read()
            view = _find(views, name)
            self._write([each for each in views if each != view])

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.file.with_name(f".{self.file.name}.lock")) as lock:
            lock.acquire(wait=True)
            yield

    def _write(self, views: list[SavedView]) -> None:
        lines = ",\n".join(json.dumps(asdict(view), ensure_ascii=False) for view in views)
        write_text_atomically(self.file, f'{{"format": {_FORMAT}, "views": [\n{lines}\n]}}\n')


def _check_name(name: str, others: list[SavedView]) -> str:
    """The name on one line."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise HandsimError(
            f"a view cannot be named {name[:_LONGEST_NAME]!r}: a name has 1 to {_LONGEST_NAME} characters"
        )
    if any(view.name == name for view in others):
        raise HandsimError(f"there is a view {name!r} already; take another name, or delete that one")
    return name


def _find(views: list[SavedView], name: str) -> SavedView:
    found = next((view for view in views if view.name == name), None)
    if found is None:
        names = [view.name for view in views]
        there = f"there are {', '.join(names)}" if names else "none has been saved yet"
        raise NotThereError(f"no view {name!r}; {there}{did_you_mean(name, names)}")
    return found

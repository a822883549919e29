"""Patterns of paths for ``--include`` and ``--exclude``."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from handsim.errors import HandsimError

_TOKENS: Final = re.compile(r"(\*\*/)|(\*\*)|(\*)|(\?)|(\[[!^]?\]?[^\]]*\])|(.)", re.DOTALL)


@dataclass(frozen=True)
class Glob:
    """A pattern of paths below the folder that was given.

    ``*`` and ``?`` match within one name, ``**`` over any number of folders, ``[ab]`` one of these letters. A
    pattern without a slash matches a file or folder of that name wherever it lies (``*.png``, ``raw``); one
    with a slash matches the whole path (``take?/rgb/**``). Raises HandsimError for an empty pattern.
    """

    pattern: str

    def __post_init__(self) -> None:
        if not self.pattern.strip("/"):
            raise HandsimError(
                f"{self.pattern!r} is no pattern of paths; give one such as 'raw/**' or '*.png'"
            )
        _ = self._expression  # raises now, not in the middle of a walk

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        try:
            return re.compile("".join(map(_translate, _TOKENS.finditer(self.pattern.strip("/")))), re.DOTALL)
        except re.error as error:
            raise HandsimError(f"{self.pattern!r} is no pattern of paths ({error})") from error

    def matches(self, path: PurePosixPath) -> bool:
        """Whether a file or folder is meant."""
        name = str(path) if "/" in self.pattern.strip("/") else path.name
        return self._expression.fullmatch(name) is not None


def _translate(token: re.Match[str]) -> str:
    folders, anything, within, one, letters, letter = token.groups()
    if folders:
        return "(?:.*/)?"
    if anything:
        return ".*"
    if within:
        return "[^/]*"
    if one:
        return "[^/]"
    if letters:
        inside = letters[1:-1].replace("\\", r"\\")
        return f"[^{inside[1:]}/]" if inside[:1] in ("!", "^") else f"[{inside}]"
    return re.escape(letter)

"""How a hand's video and label are read off the path of its file."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from handsim.errors import HandsimError


@dataclass(frozen=True)
class NameRule:
    """``parent`` (the folder's name), ``stem`` (the file's name without suffix), or a regular expression.

    A regular expression is searched in the path below the folder that was named, that folder included
    (``signs/p118/7.jpg``), and gives its first group, or the whole match when it has no group.
    Raises HandsimError for an expression that does not compile.
    """

    rule: str
    """``parent``, ``stem``, or the expression."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.rule)
        except re.error as error:
            raise HandsimError(
                f"{self.rule!r} is neither 'parent' nor 'stem' nor a regular expression ({error})"
            ) from error

    def name(self, file: PurePosixPath) -> str | None:
        """The name for a file, or None where the expression does not match."""
        if self.rule == "parent":
            return file.parent.name
        if self.rule == "stem":
            return file.stem
        match = re.search(self.rule, str(file))
        return match and (match.group(1) if match.re.groups else match.group())


def frame_number(file: PurePosixPath) -> int:
    """The last number in a file's name (``frame_000123.jpg`` is 123), 0 where there is none."""
    numbers = re.findall(r"\d+", file.stem)
    return int(numbers[-1][-18:]) if numbers else 0

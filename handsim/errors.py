"""The errors meant for people: they name the value, the bound and the remedy, in one sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher


class HandsimError(ValueError):
    """Something a person can mend: bad input, a missing file, a damaged directory.

    The command line prints it as one line without a traceback and exits with 2. Any other
    exception is a mistake of ours and keeps its traceback.
    """


class NotThereError(HandsimError, FileNotFoundError):
    """A file, directory, hand, model or version that a person named and that is not there."""

    def __str__(self) -> str:
        # That of FileNotFoundError would print the errno of each.
        return str(self.args[0]) if self.args else ""


class UnavailableError(HandsimError):
    """A server that does not answer, after some waiting: it may be back later."""


class HandsimWarning(UserWarning):
    """Something that people should know and that stops nothing; commands print it in one line."""


class UnusableError(HandsimError):
    """A file, or the rest of it, cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        """``reason`` is short and the same for all such files, so that they can be counted by it.

        ``detail`` says what is wrong with this one.
        """
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Remark:
    """Something wrong with a file that was used all the same: a report counts it by its reason."""

    reason: str
    """Short, and the same for all such files: ``damaged video``, ``no end marker``."""
    detail: str = ""
    count: int = 1
    """How many pictures or frames of the file it concerns."""


def one_line(text: str, longest: int = 1000) -> str:
    """Another program's message in one line. Of a very long one the middle is left out: what failed stands at
    its beginning, and why at its end.
    """
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest // 2]} ... {line[-longest // 2 :]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean ...?``, to end an error about an unknown name; empty if no known one is like it.

    Of dotted names (``pairs.policy.top_k``) the last part counts too. Of equally near ones it is the first.
    """
    names = list(known)
    by_last_part = {other.rsplit(".", 1)[-1]: other for other in reversed(names)}
    last_part = name.rsplit(".", 1)[-1]
    nearest = by_last_part.get(last_part) or _nearest(name, names)
    if nearest is None and (near := _nearest(last_part, by_last_part)):
        nearest = by_last_part[near]
    return f"; did you mean {nearest}?" if nearest else ""


def _nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that shares most letters with ``word``, if these are six in ten."""
    likeness = {other: SequenceMatcher(None, word, other).ratio() for other in words}
    best = max(likeness, key=likeness.__getitem__, default=None)
    return best if best is not None and likeness[best] >= 0.6 else None

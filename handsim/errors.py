"""The errors meant for people: they name the value, the bound and the remedy, in one sentence.

What is raised for a file that cannot be used, with a reason that can be counted.
"""


class HandsimError(ValueError):
    """Something a person can mend: bad input, a missing file, a damaged directory.

    The command line prints it as one line without a traceback and exits with 2. Any other
    exception is a mistake of ours and keeps its traceback.
    """


class NotThereError(HandsimError, FileNotFoundError):
    """A file, directory, hand, model or version that was asked for and is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnavailableError(HandsimError):
    """A server that does not answer, after waiting for it a while: it may be back later."""


class UnusableError(HandsimError):
    """A file, or the rest of it, cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        """``reason`` is a short class of reasons, ``detail`` what was seen in this file."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

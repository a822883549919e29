"""What is raised for a file that cannot be used, with a reason that can be counted."""

from handsim.errors import HandsimError


class UnusableError(HandsimError):
    """A file, or the rest of it, cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        """``reason`` is a short class of reasons, ``detail`` what was seen in this file."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

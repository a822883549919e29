"""What one check found."""

from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    """Which check: ``units``, ``joint order``, ..."""
    verdict: Verdict
    """``skipped`` where there was nothing to judge by."""
    detail: str
    """What was seen, and where it failed what is likely to be wrong; one line."""
    numbers: dict[str, float] = field(default_factory=dict)
    """What was measured; units are in the names."""

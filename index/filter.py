"""Which hands may be answered, said once for all engines."""

import math
from dataclasses import dataclass

import numpy as np

from handsim.errors import HandsimError
from handsim.hand import SIDES, Side


@dataclass(frozen=True)
class Filter:
    """Conditions that an answered hand meets, all of them; None asks nothing, an empty tuple admits no hand.

    Raises HandsimError for a side or score that cannot be, and for one string where several are expected.
    """

    sources: tuple[str, ...] | None = None
    """The collections it may come from."""
    sides: tuple[Side, ...] | None = None
    """The subject's own side, before mirroring."""
    videos: tuple[str, ...] | None = None
    """The recordings or persons it may come from."""
    labels: tuple[str, ...] | None = None
    """The classes it may have; a hand without a label meets none."""
    min_score: float | None = None
    """The least confidence of the detector, 0 to 1."""

    @property
    def choices(self) -> list[tuple[str, list[str]]]:
        """(field of the payload, values it may have) of each condition that names values."""
        named = (
            ("source", self.sources),
            ("side", self.sides),
            ("video", self.videos),
            ("label", self.labels),
        )
        return [(field, list(values)) for field, values in named if values is not None]

    @property
    def least_score(self) -> float | None:
        """``min_score`` as scores are kept: rounded to single precision."""
        return None if self.min_score is None else float(np.float32(self.min_score))

    def __post_init__(self) -> None:
        for name in ("sources", "sides", "videos", "labels"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise HandsimError(
                    f"the filter's {name} are one string {value!r}; give a tuple: ({value!r},)"
                )
        for side in self.sides or ():
            if side not in SIDES:
                raise HandsimError(f"the filter asks for side {side!r}; it is 'left' or 'right'")
        if self.min_score is not None and not (math.isfinite(self.min_score) and 0 <= self.min_score <= 1):
            raise HandsimError(f"the filter's min_score is {self.min_score}; it lies between 0 and 1")

"""What the runs of an experiment differ in."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Axis = Literal["method", "dataset", "pool", "top_k", "weighting", "components", "label_fraction"]
AXES: Final[tuple[Axis, ...]] = get_args(Axis)
"""All but the seeds, over which means are taken."""
ORDERED: Final[frozenset[Axis]] = frozenset({"pool", "top_k", "components", "label_fraction"})
"""Those whose values are more and more of something; pools are listed by size."""
AS_IT_IS: Final = "as it is"
"""The value on an axis that an experiment says nothing of."""


@dataclass(frozen=True)
class Point:
    """One combination of values, done once for each seed; names are those of the experiment's file."""

    method: str
    """One of the methods."""
    dataset: str
    """What is fine-tuned and judged on."""
    pool: str
    """What is pre-trained on."""
    top_k: int | None
    """Nearest neighbours that positives are drawn among; None: as the recipe says."""
    weighting: str | None
    """How pairs are weighted; None: as the recipe says."""
    components: int | None
    """Of the pose embedding; None: as the base says."""
    label_fraction: float
    """Share of the labels that are fine-tuned on."""

    def label(self, axis: Axis) -> str:
        """Its value on an axis, as tables and files have it."""
        return as_label(getattr(self, axis))


def as_label(value: str | float | None) -> str:
    """A value on an axis, as tables and files have it."""
    if value is None:
        return AS_IT_IS
    return value if isinstance(value, str) else f"{value:g}"

"""What a table shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from handsim.errors import HandsimError
from training.experiments.axes import AXES, Axis, as_label
from training.experiments.metrics import metric


@dataclass(frozen=True)
class TableSettings:
    """Which axis goes down, which one across, and which numbers stand in the cells."""

    title: str = ""
    """What it shows, in a line."""
    rows: Axis = "method"
    """The axis whose values are the rows."""
    columns: Axis | None = None
    """The axis whose values are the columns, each with all metrics; None: the metrics alone."""
    metrics: tuple[str, ...] = ("root_relative_mpjpe_mm", "procrustes_mpjpe_mm", "root_scale_auc_0_50")
    """Names of numbers of `handsim evaluate pose`."""
    where: dict[Axis, str | float] = field(default_factory=dict)
    """Value by axis, of axes that are neither rows nor columns and have several."""

    def __post_init__(self) -> None:
        if self.rows == self.columns:
            raise HandsimError(f"a table's rows and columns are both {self.rows}; leave columns out")
        if not self.metrics:
            raise HandsimError("a table's metrics are empty; name one at least")
        for name in self.metrics:
            metric(name)

    def check(self, name: str, labels: Mapping[Axis, Sequence[str]]) -> None:
        """Raises HandsimError unless one cell is one point: ``labels`` are all values on each axis."""
        for axis, value in self.where.items():
            if axis not in AXES:
                raise HandsimError(f"tables.{name}.where has {axis}; the axes are {', '.join(AXES)}")
            if axis in (self.rows, self.columns):
                raise HandsimError(f"tables.{name}.where has {axis}, which is shown; leave it out")
            if as_label(value) not in labels[axis]:
                raise HandsimError(
                    f"tables.{name}.where.{axis} is {as_label(value)}; it is one of {', '.join(labels[axis])}"
                )
        for axis, values in labels.items():
            if axis not in (self.rows, self.columns, *self.where) and len(values) > 1:
                raise HandsimError(
                    f"tables.{name} shows no {axis}, of which there are {', '.join(values)}; "
                    f"say which with where.{axis}, or show it"
                )

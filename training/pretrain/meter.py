"""What the batches of pairs tell while it trains."""

import time

from training.pairs import PairBatch
from training.runs.module import RunModule


class PairWindow:
    """Sums over the batches since it was made, as `training.runs.meter.Meter` asks for them.

    ``images_per_s`` counts views that were trained on, of all processes; ``data_wait`` is the share of the
    time in which this process had no batch to work on, ``index_wait`` the part of it in which that was the
    index's fault.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._losses: list[float] = []
        self._views = 0
        self._pairs = 0
        self._alone = 0
        self._distances: list[float] = []
        self._data_s = 0.0
        self._index_s = 0.0

    def add(self, batch: PairBatch, module: RunModule) -> None:
        """Count a batch in, which the module was just trained on."""
        pairs = len(batch.anchors)
        self._losses.append(module.loss)
        self._pairs += pairs
        self._views += 2 * pairs + len(batch.negatives)
        self._alone += batch.without_positive
        distance = float(batch.distances.nanmean())
        if distance == distance:
            self._distances.append(distance)
        self._data_s += batch.waits.data_s
        self._index_s += batch.waits.index_s

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else than training."""
        self._started += seconds

    def numbers(self, processes: int) -> dict[str, float]:
        """Mean loss, rate, shares of the time spent waiting, and how pairs were found."""
        elapsed = time.perf_counter() - self._started
        found = {
            "loss": sum(self._losses) / len(self._losses),
            "images_per_s": processes * self._views / elapsed,
            "data_wait": self._data_s / elapsed,
            "index_wait": self._index_s / elapsed,
            "without_positive": self._alone / self._pairs,
        }
        if self._distances:
            found["positive_distance"] = sum(self._distances) / len(self._distances)
        return found

    @staticmethod
    def in_short(numbers: dict[str, float]) -> str:
        """Loss, rate and waiting."""
        return (
            f"loss {numbers['loss']:.3f}, {numbers['images_per_s']:,.0f} images/s, "
            f"waiting {numbers['data_wait']:.0%} (index {numbers['index_wait']:.0%})"
        )

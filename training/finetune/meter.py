"""What the batches of labelled hands tell while it trains."""

import time

from training.finetune.batch import HandBatch


class HandWindow:
    """Sums over the batches since it was made, as `training.runs.meter.Meter` asks for them.

    ``images_per_s`` counts hands that were trained on, of all processes; ``data_wait`` is the share of the
    time in which this process had no batch to work on.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._losses: list[float] = []
        self._hands = 0
        self._waited_s = 0.0

    def add(self, batch: HandBatch, loss: float) -> None:
        """Count a batch in."""
        self._losses.append(loss)
        self._hands += len(batch)
        self._waited_s += batch.waited_s

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else than training."""
        self._started += seconds

    def numbers(self, processes: int) -> dict[str, float]:
        """Mean loss, rate, and the share of the time spent waiting."""
        elapsed = time.perf_counter() - self._started
        return {
            "loss": sum(self._losses) / len(self._losses),
            "images_per_s": processes * self._hands / elapsed,
            "data_wait": self._waited_s / elapsed,
        }

    @staticmethod
    def in_short(numbers: dict[str, float]) -> str:
        """Loss, rate and waiting."""
        return (
            f"loss {numbers['loss']:.3f}, {numbers['images_per_s']:,.0f} images/s, "
            f"waiting {numbers['data_wait']:.0%}"
        )

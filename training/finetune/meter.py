"""What the batches of labelled hands tell while it trains."""

import time

import torch
from torch import Tensor

from training.finetune.batch import HandBatch
from training.finetune.module import FinetuneModule


class HandWindow:
    """Sums over the batches since it was made, as `training.runs.meter.Meter` asks for them.

    ``images_per_s`` counts hands that were trained on, of all processes; ``data_wait`` is the share of the
    time in which this process had no batch to work on.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._losses: list[float] = []
        self._parts: list[dict[str, Tensor]] = []
        self._hands = 0
        self._waited_s = 0.0

    def add(self, batch: HandBatch, module: FinetuneModule) -> None:
        """Count a batch in, which the module was just trained on."""
        self._losses.append(module.loss)
        self._parts.append(module.parts)
        self._hands += len(batch)
        self._waited_s += batch.waited_s

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else than training."""
        self._started += seconds

    def numbers(self, processes: int) -> dict[str, float]:
        """Mean loss and its parts, rate, and the share of the time spent waiting."""
        elapsed = time.perf_counter() - self._started
        parts = {
            f"loss_{name}": float(torch.stack([part[name] for part in self._parts]).mean())
            for name in self._parts[0]
        }
        return {
            "loss": sum(self._losses) / len(self._losses),
            **parts,
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

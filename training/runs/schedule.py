"""How long a run is."""

from dataclasses import dataclass

from training.runs.settings import TrainerSettings


@dataclass(frozen=True)
class Schedule:
    """How long a run is, in batches and in optimizer steps."""

    batches_an_epoch: int
    """Batches of each process in which every sample is seen once."""
    batches: int
    """In the whole run."""
    full_batches: int
    """In all its epochs: what the learning rate is laid out for, even where a run is cut short."""
    samples_a_step: int
    """Samples (in pre-training: pairs) behind one optimizer step, over all processes and accumulation."""
    accumulate: int
    """Batches behind one optimizer step."""

    @classmethod
    def of(cls, settings: TrainerSettings, batches_an_epoch: int, processes: int) -> "Schedule":
        """What the settings come to where an epoch has so many batches for each of ``processes``."""
        full = settings.epochs * batches_an_epoch
        cut = full if settings.max_steps is None else settings.max_steps * settings.accumulate
        return cls(
            batches_an_epoch=batches_an_epoch,
            batches=min(full, cut),
            full_batches=full,
            samples_a_step=settings.batch_size * processes * settings.accumulate,
            accumulate=settings.accumulate,
        )

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run; batches left over at its end make one, too."""
        return -(-self.batches // self.accumulate)

    @property
    def full_steps(self) -> int:
        """Optimizer steps in all its epochs."""
        return -(-self.full_batches // self.accumulate)

    def ends_step(self, done: int) -> bool:
        """Whether an optimizer step is over with batch ``done`` (counted from 1)."""
        return done % self.accumulate == 0 or done >= self.batches

    def ends_epoch(self, done: int, every: int = 1) -> bool:
        """Whether an epoch, or ``every`` of them, is over with the step that batch ``done`` ends.

        An epoch that ends within a step is over with that step.
        """
        before = max(0, done - self.accumulate)
        return done // (every * self.batches_an_epoch) > before // (every * self.batches_an_epoch)

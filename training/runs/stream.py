"""All batches of a run as one stream, from any of them on."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from training.runs.module import RunModule

BatchT_co = TypeVar("BatchT_co", covariant=True)


class Batches(Protocol[BatchT_co]):
    """Where they come from."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchT_co]:
        """Batches ``first`` and following of an epoch, both counted from 0."""


class BatchStream(Generic[BatchT_co]):
    """What Lightning iterates over: the batches of all epochs, one after the other.

    To Lightning a run is one long epoch: going on from the middle of an epoch is then nothing special.
    """

    def __init__(self, batches: Batches[BatchT_co], module: RunModule) -> None:
        """It starts after ``module.batches_done``, which a checkpoint restores before anything is asked."""
        self._batches, self._module = batches, module

    def __len__(self) -> int:
        """Batches in the whole run, those that are done counted in."""
        return self._module.schedule.batches

    def __iter__(self) -> Iterator[BatchT_co]:
        each = self._module.schedule.batches_an_epoch
        done = self._module.batches_done
        while done < len(self):
            epoch, first = divmod(done, each)
            for batch in self._batches.epoch(epoch, first=first):
                yield batch
                done += 1
                if done == len(self):
                    return

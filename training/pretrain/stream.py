"""All batches of a run as one stream, from any of them on."""

from collections.abc import Iterator

from training.pairs import PairBatch, PairLoader
from training.pretrain.module import PretrainModule


class PairStream:
    """What Lightning iterates over: the batches of all epochs, one after the other.

    To Lightning a run is one long epoch: going on from the middle of an epoch is then nothing special.
    """

    def __init__(self, loader: PairLoader, module: PretrainModule) -> None:
        """It starts after ``module.batches_done``, which a checkpoint restores before anything is asked."""
        self._loader, self._module = loader, module

    def __len__(self) -> int:
        """Batches in the whole run, those that are done counted in."""
        return self._module.schedule.batches

    def __iter__(self) -> Iterator[PairBatch]:
        each = self._module.schedule.batches_an_epoch
        done = self._module.batches_done
        while done < len(self):
            epoch, first = divmod(done, each)
            for batch in self._loader.epoch(epoch, first=first):
                yield batch
                done += 1
                if done == len(self):
                    return

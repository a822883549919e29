"""Which hands are the anchors of which batch."""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from training.pairs.hand_set import HandSet

_ORDER: Final = 0
_DRAW: Final = 1


class AnchorBatches:
    """Every epoch goes once through all anchors, in another order each time.

    An epoch's order is a permutation drawn from (seed, epoch). Batch b of W ranks with B anchors each takes
    rows b B W to (b + 1) B W of it, and rank r the r-th B of these. The last rows, too few for a batch, sit
    the epoch out: other ones every time. Which hands a batch holds follows from (seed, epoch, number) alone,
    so there is nothing to save for going on in the middle, and W ranks of B anchors have the same batches
    as one of W B.
    """

    hand_ids: NDArray[np.uint64]
    """[A] all anchors, by rising id."""
    batches_an_epoch: int
    """How many batches an epoch has."""

    def __init__(
        self, hand_ids: NDArray[np.uint64], batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        """Batches of ``batch_size`` of the hands [A], in any order, on each of ``world_size`` ranks.

        Raises HandsimError where the hands do not make one batch, and for numbers out of their bounds.
        """
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
            if value < least:
                raise HandsimError(f"{name} is {value}; it is at least {least}")
        if not 0 <= rank < world_size:
            raise HandsimError(f"rank is {rank}; of {world_size} ranks it is 0 to {world_size - 1}")
        self.hand_ids = HandSet(hand_ids).hand_ids
        together = batch_size * world_size
        if together > len(self.hand_ids):
            ranks = f" on each of {world_size} ranks" if world_size > 1 else ""
            raise HandsimError(
                f"a batch of {batch_size:,} anchors{ranks} takes {together:,} hands, and there are "
                f"{len(self.hand_ids):,}; take a smaller batch, or ingest more"
            )
        self.batches_an_epoch = len(self.hand_ids) // together
        self._batch_size, self._seed, self._rank, self._world_size = batch_size, seed, rank, world_size
        self._order: tuple[int, NDArray[np.uint64]] | None = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the anchors: with equal ones and an equal seed, batches are the same."""
        return hashlib.blake2b(self.hand_ids.tobytes(), digest_size=8).hexdigest()

    def batch(self, epoch: int, number: int) -> NDArray[np.uint64]:
        """The anchors [B] of this rank in batch ``number`` of an epoch, both from 0."""
        assert epoch >= 0, f"epoch {epoch}"
        assert 0 <= number < self.batches_an_epoch, f"batch {number} of {self.batches_an_epoch}"
        start = (number * self._world_size + self._rank) * self._batch_size
        return self._permutation(epoch)[start : start + self._batch_size]

    def generator(self, epoch: int, number: int) -> np.random.Generator:
        """The random numbers of this rank's pairs in a batch: always the same ones for the same batch."""
        return np.random.default_rng([_DRAW, self._seed, epoch, number, self._rank])

    def _permutation(self, epoch: int) -> NDArray[np.uint64]:
        # Numpy pads seeds with zeros: without the word before it, epoch 3 and its batch 0 would share one.
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng([_ORDER, self._seed, epoch])
            self._order = epoch, random.permutation(self.hand_ids)
        return self._order[1]

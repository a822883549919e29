"""A loss that is no number: what is said, and what is kept for whoever looks into it."""

import json
from pathlib import Path

from handsim.atomic_file import write_text_atomically
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from training.pairs import PairBatch


class DivergedError(HandsimError):
    """The loss became NaN or infinite; no weight was moved by it."""

    def __init__(self, loss: float, batch: PairBatch) -> None:
        """``batch`` is the one that gave this ``loss``."""
        super().__init__(
            f"the loss is {loss} in batch {batch.number} of epoch {batch.epoch}; "
            f"resume from the last checkpoint with a lower --optimizer.lr, or look at the hands of that batch"
        )
        self.loss, self.batch = loss, batch

    def write(self, path: Path) -> None:
        """Write which batch it was, with the hands in it, as JSON."""
        hand_ids = [format_hand_id(hand_id) for hand_id in self.batch.hand_ids.tolist()]
        facts = {
            "loss": str(self.loss),
            "epoch": self.batch.epoch,
            "batch": self.batch.number,
            "index_version": self.batch.version,
            "anchors": [hand_ids[row] for row in self.batch.anchors.tolist()],
            "positives": [hand_ids[row] for row in self.batch.positives.tolist()],
            "negatives": [hand_ids[row] for row in self.batch.negatives.tolist()],
        }
        write_text_atomically(path, json.dumps(facts, indent=1) + "\n")

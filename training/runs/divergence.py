"""A loss that is no number: what is said, and what is kept for whoever looks into it."""

import json
from pathlib import Path
from typing import Any

from handsim.atomic_file import write_text_atomically
from handsim.errors import HandsimError
from training.runs.module import Batch


class DivergedError(HandsimError):
    """The loss became NaN or infinite; no weight was moved by it."""

    def __init__(self, loss: float, batch: Batch, samples: dict[str, Any]) -> None:
        """``batch`` is the one that gave this ``loss``; ``samples`` says in JSON's values what is in it."""
        super().__init__(
            f"the loss is {loss} in batch {batch.number} of epoch {batch.epoch}; "
            f"resume from the last checkpoint with a lower --optimizer.lr, or look at the hands of that batch"
        )
        self._facts = {"loss": str(loss), "epoch": batch.epoch, "batch": batch.number, **samples}

    def write(self, path: Path) -> None:
        """Write which batch it was, with the hands in it, as JSON."""
        write_text_atomically(path, json.dumps(self._facts, indent=1) + "\n")

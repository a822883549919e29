"""What a checkpoint of a fine-tuning run holds, read without running anything in it."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from handsim.errors import HandsimError, NotThereError

KIND: Final = "fine-tuning"
"""What checkpoints say they come from."""


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a checkpoint says of its run, and all its weights by name.

    Raises NotThereError where there is no such file, HandsimError for one that is no checkpoint of a
    fine-tuning run, is damaged, or holds pickled objects.
    """
    if not path.is_file():
        raise NotThereError(f"there is no checkpoint {path}; give one that `handsim finetune` kept")
    try:
        # mmap: the optimizer's state, which nobody looks at here, is not read.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # in a file that is something else, the reader stumbles over anything
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise HandsimError(f"{path} cannot be read as a checkpoint of `handsim finetune` ({why})") from error
    told = checkpoint.get("handsim") if isinstance(checkpoint, dict) else None
    if not isinstance(told, dict) or told.get("kind") != KIND:
        raise HandsimError(
            f"{path} is no checkpoint of `handsim finetune`, but of something else; an encoder is fine-tuned "
            f"first, with --init {path}"
        )
    return told, checkpoint["state_dict"]

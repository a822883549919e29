"""Whether a checkpoint can go on as the run it came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from handsim.errors import HandsimError
from training.runs.module import RunModule


def check_resumable(path: Path, module: RunModule, same: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What the checkpoint at ``path`` says of its run, once it is sure that ``module`` can go on with it.

    ``same`` are facts that have to be the same there; ``kind`` says what was done: ``pre-training``. Raises
    HandsimError for a file that is no checkpoint of such a run, that holds more than tensors and plain
    values, or that came from another network or with other facts.
    """
    try:
        # mmap: the weights are not read, only what is said of them.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        told = checkpoint["handsim"]
        shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    except Exception as error:  # in a file that is something else, the reader stumbles over anything
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise HandsimError(f"{path} is no checkpoint of a {kind} run ({why})") from error
    for what, ours in same.items():
        if told.get(what) != ours:
            raise HandsimError(
                f"{path} was written with {what.replace('_', ' ')} {told.get(what)}, this run has {ours}; "
                f"start a new run, with --encoder.init {path} to begin with its weights"
            )
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    other = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
    if other:
        raise HandsimError(
            f"{path} is of another network: {other[0]} has shape {shapes.get(other[0])}, "
            f"here {expected.get(other[0])}"
        )
    return dict(told)

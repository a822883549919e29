"""Where steps are done at the same time: a GPU each, or a share of the cores."""

import os
from dataclasses import dataclass

import torch

from handsim.cores import available_cores
from handsim.errors import HandsimError


@dataclass(frozen=True)
class Slot:
    """A place for one step at a time."""

    name: str
    """For people."""
    environment: dict[str, str]
    """What its processes are told, beside what we were."""


def make_slots(jobs: int | None) -> list[Slot]:
    """One for each GPU that we may use, or on a CPU as many as ``jobs`` (None: one); they share the cores.

    Raises HandsimError for a number that is not at least 1, or more than there are GPUs or cores.
    """
    if jobs is not None and jobs < 1:
        raise HandsimError(f"--jobs is {jobs}; it is at least 1")
    gpus = _gpus()
    most, what = (len(gpus), "GPUs") if gpus else (available_cores(), "cores")
    if jobs is not None and jobs > most:
        raise HandsimError(f"--jobs is {jobs}, and there are {most} {what}; give {most} at most")
    wanted = jobs or max(1, len(gpus))
    cores = max(1, available_cores() // wanted)
    threads = {"OMP_NUM_THREADS": str(cores)}
    if gpus:
        return [Slot(f"GPU {gpu}", {"CUDA_VISIBLE_DEVICES": gpu, **threads}) for gpu in gpus[:wanted]]
    name = "a core" if cores == 1 else f"{cores} cores"
    return [Slot(name, threads)] * wanted


def _gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them: those that it allows, or all."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [str(number) for number in range(count)] if allowed is None else allowed.split(",")
    return [name.strip() for name in names][:count]

"""A run of the trainer that is measured: the settings that every benchmark gives it, and where it runs."""

import argparse
from typing import Any

import torch

from handsim.processes import available_cores


def trainer_options(
    options: argparse.Namespace, given: dict[str, Any], *, batch: int, steps: int, epochs: int = 1
) -> list[str]:
    """``given`` and the settings of a run of so many steps, as words of a command line.

    Nothing but a line of numbers is written for each step: figures, TensorBoard and a checkpoint before the
    end would be measured, too.
    """
    settings = given | {
        "trainer.epochs": epochs,
        "trainer.max_steps": steps,
        "trainer.batch_size": batch,
        "trainer.precision": options.precision,
        "trainer.accelerator": "gpu" if options.device == "cuda" else "cpu",
        "trainer.devices": 1,
        "trainer.workers": options.workers,
        "log.metrics_every_steps": 1,
        "log.figures_every_steps": 0,
        "log.tensorboard": "false",
    }
    return [f"--{name}={value}" for name, value in settings.items()]


def fill_in(options: argparse.Namespace, defaults: dict[str, dict[str, Any]]) -> None:
    """Take what was not given from the defaults of the device, and end where torch cannot use that."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU that torch can use here; take --device cpu")
    for name, value in defaults[options.device].items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def machine(device: str) -> dict[str, Any]:
    """What a report says of where it was measured."""
    return {
        "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": str(torch.__version__),
        "cores": available_cores(),
    }

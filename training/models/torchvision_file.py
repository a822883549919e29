"""The weights that people take away: a torchvision ResNet's state dict, in a file of its own."""

import os
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from handsim.atomic_file import sync
from handsim.embedding.image.encoder_file import TrunkWeights
from handsim.errors import HandsimError, NotThereError

SUFFIXES: Final = (".pth", ".pt", ".safetensors")


def check_target(path: Path) -> None:
    """Raises HandsimError or NotThereError where `write_torchvision` could not write."""
    if path.suffix not in SUFFIXES:
        raise HandsimError(
            f"{path} ends in {path.suffix or 'nothing'}; it is to end in {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise HandsimError(f"{path} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise NotThereError(f"{path.parent} is not a directory; make it, or name another file")


def write_torchvision(path: Path, weights: TrunkWeights, source: str) -> None:
    """Write a ResNet's trunk to ``path``, which appears whole or not at all.

    Names, shapes and order are those of torchvision's ``resnet18`` to ``resnet152``, float32, without ``fc``:
    there is no classifier, pooled features come out where ``fc`` is ``torch.nn.Identity()``. The counters of
    batch norm, which have no say, are left out too; ``load_state_dict`` wants neither, strict as it is.
    The metadata of a ``.safetensors`` say which ``architecture`` it is and the ``source`` it was taken from.
    The same weights make the same ``.pth`` to the byte; safetensors' metadata come in any order. Raises
    HandsimError where they cannot be written.
    """
    check_target(path)
    state = {name: torch.from_numpy(array) for name, array in weights.tensors.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".safetensors":
            facts = {"format": "pt", "architecture": weights.architecture, "source": source}
            save_file(state, temporary, facts)
        else:
            # Through an open file: torch would write the name of one that it opens itself into it.
            with temporary.open("wb") as file:
                torch.save(state, file)
        temporary.chmod(0o644)  # safetensors gives it to its owner alone
        sync(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise HandsimError(f"{path} cannot be written ({error}); make room and run it again") from error
    finally:
        temporary.unlink(missing_ok=True)

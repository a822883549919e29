"""The tensors that lie in a checkpoint's file, read without running anything that may lie beside them."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from handsim.errors import HandsimError

_WRAPPERS: Final = ("state_dict", "model", "model_state_dict")
_FOREIGN: Final = re.compile(r"GLOBAL (\S+)")
"""How torch says what it will not rebuild, in files of both its formats."""


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in ``path`` by name, on the CPU, out of the ``state_dict`` or ``model`` they may lie under.

    The file is ``.safetensors``, or what ``torch.save`` wrote: a state dict alone, or one with plain values
    around it, as Lightning's checkpoints are. It is mapped where it can be, so that optimizer states, which
    nobody looks at here, cost nothing. Raises HandsimError for pickled objects, of which none is rebuilt, and
    for files that are no checkpoint.
    """
    return _unwrapped(_read(path))


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise HandsimError(
            f"{path} cannot be read ({error.strerror or error}); let it be readable"
        ) from error
    except Exception as error:  # in a file that is something else, the readers stumble over anything
        foreign = _FOREIGN.search(str(error))
        if foreign:
            raise HandsimError(
                f"{path} holds a pickled object ({foreign[1]}), which could run code, and is not read; "
                f"where you trust it, load it yourself and save `model.state_dict()` alone, or its entry "
                f"'state_dict'"
            ) from error
        raise HandsimError(
            f"{path} ({path.stat().st_size:,} bytes) is no checkpoint, or is damaged or cut short; copy it "
            f"here again, or save `model.state_dict()` anew"
        ) from error


def _unwrapped(content: Any) -> dict[str, torch.Tensor]:
    while isinstance(content, Mapping):
        inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = inner[0]
    return {}

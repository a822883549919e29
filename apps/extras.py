"""Libraries that only some commands need, and the extra of pyproject.toml that installs each of them."""

from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {
    "jsonargparse": "train",
    "lightning": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "onnx": "export",
    "onnxruntime": "onnx",
    "onnxscript": "export",
    "ray": "cluster",
    "torch": "train",
    "torchvision": "train",
    "yaml": "train",
    "altair": "browse",
    "authlib": "browse",
    "streamlit": "browse",
    "umap": "browse",
}
"""Import name of a library -> the extra."""


def explain_missing_library(error: ModuleNotFoundError) -> str | None:
    """What to install, in a sentence; None if ``error`` is not about a library of an extra.

    Without torch, ``import torch.nn`` names ``torch``; an error that names ``torch.nm`` is our mistake.
    """
    if error.name not in EXTRAS:
        return None
    return (
        f"this needs the library {error.name}, which is not installed; "
        f"`pip install 'handsim[{EXTRAS[error.name]}]'` installs it"
    )


def require_library(name: str) -> None:
    """Raise ModuleNotFoundError if ``name`` is not installed, before work begins that needs it in the end."""
    if find_spec(name) is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

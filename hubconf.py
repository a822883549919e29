"""Trained encoders by torch.hub, for those who want the network and nothing else of handsim.

    model = torch.hub.load("OWNER/handsim", "simhand_encoder", checkpoint="simhand.pth")

No weights are shipped: ``checkpoint`` is what ``handsim export`` wrote, a file or the URL of one.
"""

# Modules alone are imported: torch.hub lists whatever can be called here as something to load.
import hashlib
import pathlib
import typing

import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

dependencies = ["torch", "torchvision"]

_ARCHITECTURES: typing.Final = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "convnext_tiny")
_LEAST_DIGITS: typing.Final = 8


def simhand_encoder(checkpoint: str, sha256: str | None = None, progress: bool = True) -> torch.nn.Module:
    """A torchvision network with a checkpoint's weights, in evaluation mode, its last layer an Identity.

    It takes RGB images [B, 3, S, S], from 0..1 normalised by ImageNet's mean (0.485, 0.456, 0.406) and
    standard deviation (0.229, 0.224, 0.225), and gives pooled features [B, F]; F is 512 for ResNet-18 and 34,
    768 for ConvNeXt-T, else 2048. All hands it was trained on were right ones: mirror left ones.

    ``checkpoint`` is the path or the URL of what ``handsim export`` wrote, ``.pth`` or ``.safetensors``
    (which needs safetensors). Which network it is follows from its names. A URL is fetched once, into
    torch.hub's directory. ``sha256``, 8 or more of the first hex digits of the file's checksum, is compared
    where it is given. Nothing in the file is run. Raises ValueError for anything else.
    """
    if sha256 is not None and len(sha256) < _LEAST_DIGITS:
        raise ValueError(f"sha256 is {sha256!r}; give at least {_LEAST_DIGITS} of its digits")
    path = _fetched(checkpoint, sha256, progress) if "://" in checkpoint else pathlib.Path(checkpoint)
    if sha256 is not None:
        _compare(path, sha256)
    state = _read(path)
    for name in _ARCHITECTURES:
        with torch.device("meta"):  # to look at its names, without room for its weights
            expected = _shapes(_headless(name).state_dict())
        if _shapes(state) == expected:
            model = _headless(name)
            model.load_state_dict(state)
            return model.eval()
    raise ValueError(
        f"{path} is no ResNet as `handsim export` writes it, and no ConvNeXt-T; export the checkpoint, and "
        f"load that"
    )


def _headless(architecture: str) -> torch.nn.Module:
    model: torch.nn.Module = models.get_model(architecture, weights=None)
    if architecture == "convnext_tiny":
        classifier = model.get_submodule("classifier")
        assert isinstance(classifier, torch.nn.Sequential)
        classifier[2] = torch.nn.Identity()
    else:
        model.fc = torch.nn.Identity()
    return model


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    """Of all but the counters of batch norm, which may be left out."""
    return {name: value.shape for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _read(path: pathlib.Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ImportError):
        raise
    except Exception as error:  # the readers fail in any way on a file that is cut short or of another kind
        size = path.stat().st_size
        raise ValueError(
            f"{path} ({size:,} bytes) cannot be read as weights; it is cut short or no file of "
            f"`handsim export`: fetch or export it again"
        ) from error
    if isinstance(content, dict) and all(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    raise ValueError(f"{path} holds other things than weights; `handsim export` takes the weights out")


def _fetched(url: str, sha256: str | None, progress: bool) -> pathlib.Path:
    """The file of ``url``, in torch.hub's directory under a name that no other URL has."""
    name = url.rpartition("/")[2].partition("?")[0]
    folder = pathlib.Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), sha256 and sha256.lower(), progress)
    return path


def _compare(path: pathlib.Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256.lower()):
        raise ValueError(f"{path} has the SHA-256 {found}, not {sha256}; delete it, and get it again")

"""The weights of a ResNet's trunk: from torchvision, or out of a checkpoint of any of the usual shapes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image.architectures import Architecture
from handsim.embedding.image.encoder_file import TrunkWeights
from handsim.errors import HandsimError, NotThereError

IMAGENET_WEIGHTS: Final[dict[str, Any]] = {
    "resnet18": models.ResNet18_Weights.DEFAULT,
    "resnet34": models.ResNet34_Weights.DEFAULT,
    "resnet50": models.ResNet50_Weights.DEFAULT,
    "resnet101": models.ResNet101_Weights.DEFAULT,
    "resnet152": models.ResNet152_Weights.DEFAULT,
}
_WRAPPERS: Final = ("state_dict", "model", "model_state_dict")
_STEM: Final = "conv1.weight"
_STEM_SHAPE: Final = (64, 3, 7, 7)
_BLOCKS: Final[dict[tuple[bool, tuple[int, ...]], Architecture]] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
"""Whether a block has three convolutions, and how many blocks each of the four stages has."""


def read_trunk(encoder: str) -> TrunkWeights:
    """The trunk of ``encoder``: resnet18 to resnet152 with ImageNet's weights, or a checkpoint's path.

    A checkpoint is a torchvision ResNet's state dict, ``.safetensors`` or what ``torch.save`` wrote, with or
    without the classifier, on its own or under ``state_dict`` or ``model``, with any one prefix to its names
    (``encoder.``, ``module.``). Raises NotThereError or HandsimError for what is none.
    """
    if encoder in IMAGENET_WEIGHTS:
        return _trunk_of(_imagenet(encoder), encoder)
    path = Path(encoder)
    if not path.is_file():
        raise NotThereError(
            f"there is no checkpoint at {encoder}; give one, or one of {', '.join(IMAGENET_WEIGHTS)}"
        )
    return _trunk_of(_plain_names(_tensors(_read(path)), path), path.name)


def _imagenet(architecture: str) -> Mapping[str, torch.Tensor]:
    weights = IMAGENET_WEIGHTS[architecture]
    try:
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise HandsimError(
            f"the ImageNet weights of {architecture} could not be fetched ({error}); "
            f"bring {weights.url} here by other means and give the file with --encoder"
        ) from error
    return state


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # in a file that is something else, the readers stumble over anything
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise HandsimError(
            f"{path} cannot be read as a checkpoint ({why}); save `model.state_dict()` alone"
        ) from error


def _tensors(content: Any) -> dict[str, torch.Tensor]:
    """The tensors of what a checkpoint holds, out of the wrapper they may lie in."""
    while isinstance(content, Mapping):
        inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = inner[0]
    return {}


def _plain_names(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Those that belong to the one ResNet among ``tensors``, named as torchvision names them."""
    prefixes = [
        name.removesuffix(_STEM)
        for name, tensor in tensors.items()
        if name.endswith(_STEM) and tensor.shape == _STEM_SHAPE
    ]
    if not prefixes:
        raise HandsimError(
            f"{path} holds no ResNet as torchvision names it ({_STEM}, layer1.0.conv1.weight, ...); "
            f"save the state dict of one"
        )
    if len(prefixes) > 1:
        raise HandsimError(
            f"{path} holds {len(prefixes)} ResNets ({', '.join(map(repr, prefixes))}); "
            f"save the one you mean alone"
        )
    start = len(prefixes[0])
    return {name[start:]: tensor for name, tensor in tensors.items() if name.startswith(prefixes[0])}


def _trunk_of(state: Mapping[str, torch.Tensor], encoder: str) -> TrunkWeights:
    """The weights that ``state`` has for the trunk of the ResNet it is; raises HandsimError if it is none."""
    stages = tuple(len(set(_blocks(state, stage))) for stage in range(1, 5))
    architecture = _BLOCKS.get(("layer1.0.conv3.weight" in state, stages))
    if architecture is None:
        blocks = "-".join(map(str, stages))
        raise HandsimError(f"{encoder} has {blocks} blocks, which no ResNet-18/34/50/101/152 has")
    with torch.device("meta"):
        expected = models.get_model(architecture, weights=None).state_dict()
    tensors = {}
    for name, like in expected.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue  # neither has a say in the pooled features
        if name not in state:
            raise HandsimError(f"{encoder} looks like a {architecture} but lacks {name}; save all of it")
        if state[name].shape != like.shape:
            raise HandsimError(
                f"{encoder} is no plain {architecture}: its {name} has shape {list(state[name].shape)}, "
                f"not {list(like.shape)}"
            )
        tensors[name] = state[name].detach().to(torch.float32).numpy().copy()
        if not np.isfinite(tensors[name]).all():
            raise HandsimError(f"{encoder} holds NaN or infinity in {name}; take an earlier checkpoint")
    return TrunkWeights(encoder, architecture, tensors)


def _blocks(state: Mapping[str, torch.Tensor], stage: int) -> Iterator[str]:
    for name in state:
        parts = name.split(".")
        if parts[0] == f"layer{stage}" and len(parts) > 1:
            yield parts[1]

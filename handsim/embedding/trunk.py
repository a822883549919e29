"""A trunk, a network without its classifier: reading its weights, and running it over crops.

Weights come from torchvision (ImageNet) or out of a checkpoint of any of the usual layouts (`read_trunk`).
Pooled features are the same on every device up to rounding, and are half-precision numbers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from handsim.checkpoints import read_checkpoint
from handsim.embedding.image import FEATURES, Architecture, Device
from handsim.embedding.networks import (
    CONVNEXT,
    VIT_SHAPES,
    build_network,
    check_size,
    expected_shapes,
    torchvision_models,
)
from handsim.embedding.vit_weights import identify_vit, rename_vit
from handsim.errors import HandsimError, NotThereError

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Of RGB in 0..1: what torchvision's networks and those of DINO were trained with."""
_WRAPPERS: Final = ("state_dict", "model", "model_state_dict")
"""Keys of a checkpoint under which the weights may lie."""
_STEM_SHAPE: Final = (64, 3, 7, 7)
_CONVNEXT_STEM: Final = "features.0.0.weight"
_CONVNEXT_STEM_SHAPE: Final = (96, 3, 4, 4)
_PATCH_WEIGHTS: Final = (
    "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
)
"""The first weight of a vision transformer, by Meta and timm, and by transformers."""
_LAYERS: Final[dict[str, dict[str, str]]] = {
    "conv1.weight": {},
    "0.weight": {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"},
}
"""By the name of the first convolution: the names of layers that differ from torchvision's.

PeCLR (github.com/dahiyaaneesh/peclr, src/models/resnet_model.py), and SiMHand after it, put a ResNet's
children into a Sequential, which numbers them: 2 is the ReLU, 3 the max pooling, 8 the average pooling.
"""
_BLOCKS: Final[dict[tuple[bool, tuple[int, ...]], Architecture]] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
"""Whether a block has three convolutions, and how many blocks each of the four stages has."""
_RESNETS: Final = tuple(_BLOCKS.values())


@dataclass(frozen=True, eq=False)
class TrunkWeights:
    """A network without its classifier."""

    encoder: str
    """Its name for people: the architecture, or the checkpoint's file name."""
    architecture: Architecture
    tensors: dict[str, NDArray[np.float32]]
    """Its weights and running statistics, named as torchvision names them, or DINO."""

    @cached_property
    def sha256(self) -> str:
        """64 hex digits over everything that decides its features."""
        return digest_tensors(self.tensors)


def digest_tensors(tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (64 hex digits) over the names, types, shapes and numbers of tensors, in any order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Trunk:
    """A network up to its pooled features, ready to run."""

    def __init__(self, weights: TrunkWeights, image_size_px: int, device: Device = "auto") -> None:
        """Put it on the device.

        Raises HandsimError for ``cuda`` where no GPU can be used, and for a size that is no multiple of a
        vision transformer's patch.
        """
        check_size(weights.architecture, image_size_px, "the image size")
        if device == "cuda" and not torch.cuda.is_available():
            raise HandsimError("no GPU can be used here; ask for --device cpu, or auto")
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._size_px = image_size_px
        with torch.device("meta"):
            network = build_network(weights.architecture)
        state = {name: torch.from_numpy(array) for name, array in weights.tensors.items()}
        # assign: the weights replace the network's placeholders. Not strict: the counters of batch norms are
        # not among the weights, and do not influence the features.
        network.load_state_dict(state, strict=False, assign=True)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.num_batches_tracked = None
        # Channels last: the convolutions of a CPU run half again as fast.
        self._network = network.to(self._device).to(memory_format=torch.channels_last).eval()
        self._mean, self._std = (
            torch.tensor(numbers, device=self._device).view(1, 3, 1, 1)
            for numbers in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def extract_features(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float16]:
        """Pooled features [n, F] of RGB crops [S, S, 3], each resized to the trunk's image size.

        Half precision, as they are cached on disk: a hand gets the same vector whether its features were
        cached or not. Raises HandsimError when they are not finite, or when a GPU's memory is too small.
        """
        # A GPU left to itself multiplies with 10 bits, and chooses between ways that round differently.
        exact = torch.backends.cudnn.flags(
            enabled=True, deterministic=True, allow_tf32=False, fp32_precision="ieee"
        )
        try:
            with torch.inference_mode(), exact:
                pooled = self._network(self._batch(crops))
        except torch.cuda.OutOfMemoryError as error:
            raise HandsimError(
                f"a batch of {len(crops)} is too much for this GPU's memory; ask for a smaller --batch"
            ) from error
        features: NDArray[np.float16] = pooled.to(torch.float16).cpu().numpy()
        if not np.isfinite(features).all():
            raise HandsimError(
                "the encoder's features are infinite or no numbers; "
                "it was not trained, or its training diverged"
            )
        return features

    def _batch(self, crops: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        same_size = len({crop.shape for crop in crops}) == 1
        groups = [np.stack(crops)] if same_size else [crop[None] for crop in crops]
        pictures = torch.cat([self._resize(group) for group in groups])
        return ((pictures - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    def _resize(self, crops: NDArray[np.uint8]) -> torch.Tensor:
        """Crops [n, S, S, 3] as float32 [n, 3, size, size] in 0..1."""
        pictures = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).float() / 255
        size = (self._size_px, self._size_px)
        if pictures.shape[-2:] == size:
            return pictures
        return functional.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)


def read_trunk(encoder: str) -> TrunkWeights:
    """The trunk of ``encoder``: an architecture with ImageNet's weights, or a checkpoint's path.

    A checkpoint is ``.safetensors`` or what ``torch.save`` wrote, and holds one network, with or without the
    classifier, on its own or under ``state_dict`` or ``model``, next to whatever else. A vision transformer
    is in the layout of Meta, timm or transformers, a ConvNeXt in torchvision's, behind any one prefix; a
    ResNet in one of two:

    - torchvision's, behind any one prefix: what `handsim export` writes, handsim's own checkpoints
      (``encoder.trunk.conv1.weight``), and the weights that PeCLR (no prefix; fine-tuned ``backend_model.``)
      and SiMHand (no prefix) publish;
    - a Sequential of its children, behind any one prefix: the checkpoints of PeCLR's and SiMHand's training
      code (``encoder.features.4.0.conv1.weight`` is ``layer1.0.conv1.weight``). As that code leaves them,
      they hold pickled objects too (callbacks, the configuration) and have to be saved again without.

    Pickled objects are refused, never unpickled. Raises NotThereError or HandsimError for what is no
    checkpoint.
    """
    for architecture in FEATURES:
        if encoder == architecture:
            return _check_trunk(_fetch_imagenet(architecture), architecture, encoder)
    path = Path(encoder)
    if not path.is_file():
        raise NotThereError(f"there is no checkpoint at {encoder}; give one, or one of {', '.join(FEATURES)}")
    tensors = _unwrap(read_checkpoint(path))
    if (prefix := _find_prefix(tensors, _PATCH_WEIGHTS, (None, 3, None, None), path)) is not None:
        architecture, state = identify_vit(rename_vit(_behind(tensors, prefix)), path.name)
        return _check_trunk(state, architecture, path.name)
    if (prefix := _find_prefix(tensors, (_CONVNEXT_STEM,), _CONVNEXT_STEM_SHAPE, path)) is not None:
        return _check_trunk(_behind(tensors, prefix), CONVNEXT, path.name)
    return _select_trunk(_rename_layers(tensors, path), path.name)


def _fetch_imagenet(architecture: Architecture) -> Mapping[str, torch.Tensor]:
    if architecture in VIT_SHAPES:
        raise HandsimError(
            f"the weights of a {architecture} are not fetched; bring a file of them (.safetensors or .pth, "
            f"of timm, transformers or Meta), and give that instead"
        )
    weights = torchvision_models().get_model_weights(architecture).DEFAULT
    try:
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise HandsimError(
            f"the ImageNet weights of {architecture} could not be fetched ({error}); "
            f"bring {weights.url} here by other means and give that file instead of {architecture}"
        ) from error
    return state


def _unwrap(content: Any) -> dict[str, torch.Tensor]:
    """The tensors in a checkpoint by name, out of the keys that they may lie under."""
    while isinstance(content, Mapping):
        inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = inner[0]
    return {}


def _find_prefix(
    tensors: Mapping[str, torch.Tensor], first: Sequence[str], shape: Sequence[int | None], path: Path
) -> str | None:
    """What stands before the name of a network's ``first`` weight, of a shape (None: any); None without one.

    Raises HandsimError for several networks.
    """
    prefixes = []
    for name, tensor in tensors.items():
        ending = next((ending for ending in first if f".{name}".endswith(f".{ending}")), None)
        if ending is None or tensor.ndim != len(shape):
            continue
        if all(want in (None, size) for want, size in zip(shape, tensor.shape, strict=True)):
            prefixes.append(name.removesuffix(ending))
    if len(prefixes) > 1:
        raise _several_networks(path, prefixes)
    return prefixes[0] if prefixes else None


def _several_networks(path: Path, prefixes: Sequence[str]) -> HandsimError:
    return HandsimError(
        f"{path} holds {len(prefixes)} networks ({', '.join(map(repr, prefixes))}); save the one you mean "
        f"alone"
    )


def _behind(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _rename_layers(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the one ResNet among ``tensors``, named as torchvision names them."""
    stems = [
        (prefix, stem)
        for name, tensor in tensors.items()
        for prefix, stem in [_split(name)]
        if stem in _LAYERS and tensor.shape == _STEM_SHAPE
    ]
    if not stems:
        raise HandsimError(
            f"{path} holds no ResNet as torchvision names it (conv1.weight, layer1.0.conv1.weight, ...) or "
            f"as PeCLR does (features.0.weight, features.4.0.conv1.weight, ...), no vision transformer "
            f"(patch_embed.proj.weight, ...) and no ConvNeXt-T; save the state dict of one"
        )
    if len(stems) > 1:
        raise _several_networks(path, [prefix for prefix, _ in stems])
    [(prefix, stem)] = stems
    layers = _LAYERS[stem]
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, rest = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix):
            renamed[f"{layers.get(layer, layer)}.{rest}"] = tensor
    return renamed


def _split(name: str) -> tuple[str, str]:
    """``encoder.features.0.weight`` as ``encoder.features.`` and ``0.weight``."""
    path, _, last = name.rpartition(".")
    before, dot, layer = path.rpartition(".")
    return before + dot, f"{layer}.{last}"


def _select_trunk(state: Mapping[str, torch.Tensor], encoder: str) -> TrunkWeights:
    """The trunk's part of the state dict of a ResNet; raises HandsimError if it is none."""
    parts = [name.split(".") for name in state]
    stages = tuple(len({block for layer, block, *_ in parts if layer == f"layer{n}"}) for n in range(1, 5))
    architecture = _BLOCKS.get(("layer1.0.conv3.weight" in state, stages))
    if architecture is None:
        blocks = "-".join(map(str, stages))
        raise HandsimError(f"{encoder} has {blocks} blocks, which no ResNet-18/34/50/101/152 has")
    return _check_trunk(state, architecture, encoder)


def _check_trunk(state: Mapping[str, torch.Tensor], architecture: Architecture, encoder: str) -> TrunkWeights:
    """The weights that influence the features; raises HandsimError where one is missing, or not as it is."""
    expected, tensors = expected_shapes(architecture), {}
    for name, shape in expected.items():
        if name not in state:
            raise HandsimError(f"{encoder} looks like a {architecture} but lacks {name}; save all of it")
        if state[name].shape != shape:
            raise HandsimError(
                f"{encoder} is no plain {architecture}: its {name} has shape {list(state[name].shape)}, "
                f"not {list(shape)}"
            )
        tensors[name] = state[name].detach().to(torch.float32).numpy().copy()
        if not np.isfinite(tensors[name]).all():
            raise HandsimError(f"{encoder} holds NaN or infinity in {name}; take an earlier checkpoint")
    further = [name for name in state if name.startswith(("features.", "blocks.")) and name not in expected]
    if architecture not in _RESNETS and further:  # a ResNet's blocks have been counted
        raise HandsimError(f"{encoder} is no plain {architecture}: it has {further[0]}, too")
    return TrunkWeights(encoder, architecture, tensors)

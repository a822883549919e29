"""Fitting an image embedding over a pool: encode its crops, find the components, keep the vectors.

The tensors that lie in a checkpoint's file, read without running anything that may lie beside them.

The weights of a ResNet's trunk: from torchvision, or out of a checkpoint of any of the usual shapes.
"""

import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image import (
    DEFAULT_BATCH,
    FEATURES,
    Architecture,
    Device,
    ImageEmbedding,
    ImageRecord,
    KeptRows,
    vectors_folder,
)
from handsim.embedding.image_encoder import Projection, TrunkWeights, encode_hands, write_encoder
from handsim.embedding.pose import PrincipalComponents
from handsim.errors import HandsimError, NotThereError
from handsim.pool import Pool

DEFAULT_COMPONENTS: Final = 64
DEFAULT_IMAGE_SIZE_PX: Final = 224
MIN_IMAGE_SIZE_PX: Final = 32
_ENCODED_TOGETHER: Final = 1024
"""Hands whose features are kept at once: what a killed fit loses at most."""
_PROJECTED_TOGETHER: Final = 4096

Progress = Callable[[int, int], None]
"""Called with the hands encoded and all there are to encode."""


@dataclass(frozen=True)
class ImageFitOptions:
    """How crops are encoded and how much of it is kept. Raises HandsimError for what cannot be."""

    components: int = DEFAULT_COMPONENTS
    """D, the length of a vector."""
    image_size_px: int = DEFAULT_IMAGE_SIZE_PX
    """The side crops are resized to before the ResNet looks at them."""
    batch: int = DEFAULT_BATCH
    """Crops it looks at together; the vectors do not depend on it beyond rounding."""
    device: Device = "auto"
    """``cpu``, ``cuda``, or ``auto``: a GPU where there is one."""
    keep_features: bool = False
    """Leave the features on disk, so that fitting again with other components encodes nothing."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("components", self.components, 1),
            ("batch", self.batch, 1),
            ("image size", self.image_size_px, MIN_IMAGE_SIZE_PX),
        ):
            if value < least:
                raise HandsimError(f"{name} is {value}; it is at least {least}")


def fit_image_embedding(
    pool: Pool,
    encoder: str,
    path: str | Path,
    options: ImageFitOptions | None = None,
    progress: Progress | None = None,
) -> ImageEmbedding:
    """Fit on every crop of a pool and write the embedding to ``path``, its weights file beside it.

    ``encoder`` is resnet18 to resnet152 (ImageNet's weights) or a checkpoint's path, see
    `handsim.embedding.image_fit.read_trunk`. Memory is bounded however many hands there are. A fit that
    was stopped goes on where it was when it is run again: features are kept beside the pool until the end.

    Raises HandsimError for hands without crops, too few of them, or an encoder that cannot be used.
    """
    pass  # MERGED

    options = options or ImageFitOptions()
    weights = read_trunk(encoder)
    check_fittable(pool, weights.architecture, options)
    path = Path(path)
    folder = pool.path.parent / "features" / f"{weights.sha256[:16]}-{options.image_size_px}"
    features = KeptRows(folder, FEATURES[weights.architecture], np.float16)
    _encode(pool, weights, options, features, progress)
    found = PrincipalComponents.fit(
        (features.read(hand_ids) for hand_ids in _slices(pool, _PROJECTED_TOGETHER)), options.components
    )
    projection = Projection(found.mean, found.components)
    record = ImageRecord(
        encoder=weights.encoder,
        architecture=weights.architecture,
        image_size_px=options.image_size_px,
        trunk_sha256=weights.sha256,
        pca_sha256=projection.sha256,
        dimension=options.components,
        fitted_hands=len(pool),
        total_variance=found.total_variance,
        explained_variance=tuple(found.explained_variance.tolist()),
    )
    vectors = KeptRows(vectors_folder(pool, record), record.dimension, np.float32)
    for hand_ids in _slices(pool, _PROJECTED_TOGETHER):
        new = hand_ids[~vectors.has(hand_ids)]
        vectors.keep(new, projection.apply(features.read(new)))
    write_encoder(path.parent / record.encoder_file, weights, projection)
    embedding = ImageEmbedding(record, [path.parent])
    embedding.save(path)
    if not options.keep_features:
        shutil.rmtree(folder)
        with suppress(OSError):  # where those of another encoder are kept
            folder.parent.rmdir()
    return embedding


def check_fittable(pool: Pool, architecture: Architecture, options: ImageFitOptions) -> None:
    """Raise HandsimError for a pool with too few hands, or hands without crops, or too many components."""
    most = FEATURES[architecture]
    if options.components > most:
        raise HandsimError(f"components is {options.components}; a {architecture} has 1 to {most}")
    if len(pool) <= options.components:
        raise HandsimError(
            f"{len(pool)} hands are too few to fit {options.components} components; "
            f"`handsim ingest` more, or ask for fewer components"
        )
    lacking = len(pool) - int(pool.has_crops.sum())
    if lacking:
        raise HandsimError(
            f"{lacking:,} of the {len(pool):,} hands have keypoints but no picture to encode; "
            f"ingest the pictures they come from into a pool of their own, or fit a pose embedding"
        )


def _encode(
    pool: Pool, weights: TrunkWeights, options: ImageFitOptions, features: KeptRows, progress: Progress | None
) -> None:
    """Keep the features of all hands that have none yet."""
    from handsim.embedding.image_encoder import Trunk

    chunks = [hand_ids[~features.has(hand_ids)] for hand_ids in _slices(pool, _ENCODED_TOGETHER)]
    chunks = [chunk for chunk in chunks if len(chunk)]
    if not chunks:
        return
    done = len(pool) - sum(map(len, chunks))
    trunk = Trunk(weights, options.image_size_px, options.device)
    for chunk, encoded in zip(chunks, encode_hands(pool, chunks, trunk, options.batch), strict=True):
        features.keep(chunk, encoded)
        done += len(chunk)
        if progress is not None:
            progress(done, len(pool))


def _slices(pool: Pool, size: int) -> Iterator[NDArray[np.uint64]]:
    for start in range(0, len(pool), size):
        yield pool.hand_ids[start : start + size]


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


IMAGENET_WEIGHTS: Final[dict[str, Any]] = {
    "resnet18": models.ResNet18_Weights.DEFAULT,
    "resnet34": models.ResNet34_Weights.DEFAULT,
    "resnet50": models.ResNet50_Weights.DEFAULT,
    "resnet101": models.ResNet101_Weights.DEFAULT,
    "resnet152": models.ResNet152_Weights.DEFAULT,
}
_STEM_SHAPE: Final = (64, 3, 7, 7)
_LAYERS: Final[dict[str, dict[str, str]]] = {
    "conv1.weight": {},
    "0.weight": {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"},
}
"""By what the first convolution is called: the names of layers that differ from torchvision's.

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


def read_trunk(encoder: str) -> TrunkWeights:
    """The trunk of ``encoder``: resnet18 to resnet152 with ImageNet's weights, or a checkpoint's path.

    A checkpoint is ``.safetensors`` or what ``torch.save`` wrote, and holds one ResNet, with or without the
    classifier, on its own or under ``state_dict`` or ``model``, next to whatever else, in one of two layouts:

    - torchvision's, behind any one prefix: what `handsim export` writes, handsim's own checkpoints
      (``encoder.trunk.conv1.weight``), and the weights that PeCLR (no prefix; fine-tuned ``backend_model.``)
      and SiMHand (no prefix) publish;
    - a Sequential of its children, behind any one prefix: the checkpoints of PeCLR's and SiMHand's training
      code (``encoder.features.4.0.conv1.weight`` is ``layer1.0.conv1.weight``). As that code leaves them,
      they hold pickled objects too (callbacks, the configuration) and have to be saved again without.

    Raises NotThereError or HandsimError for what is none, and for pickled objects, see `read_tensors`.
    """
    if encoder in IMAGENET_WEIGHTS:
        return _trunk_of(_imagenet(encoder), encoder)
    path = Path(encoder)
    if not path.is_file():
        raise NotThereError(
            f"there is no checkpoint at {encoder}; give one, or one of {', '.join(IMAGENET_WEIGHTS)}"
        )
    return _trunk_of(_plain_names(read_tensors(path), path), path.name)


def _imagenet(architecture: str) -> Mapping[str, torch.Tensor]:
    weights = IMAGENET_WEIGHTS[architecture]
    try:
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise HandsimError(
            f"the ImageNet weights of {architecture} could not be fetched ({error}); "
            f"bring {weights.url} here by other means and give that file instead of {architecture}"
        ) from error
    return state


def _plain_names(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Those that belong to the one ResNet among ``tensors``, named as torchvision names them."""
    stems = [
        (prefix, stem)
        for name, tensor in tensors.items()
        for prefix, stem in [_split(name)]
        if stem in _LAYERS and tensor.shape == _STEM_SHAPE
    ]
    if not stems:
        raise HandsimError(
            f"{path} holds no ResNet as torchvision names it (conv1.weight, layer1.0.conv1.weight, ...) or "
            f"as PeCLR does (features.0.weight, features.4.0.conv1.weight, ...); save the state dict of one"
        )
    if len(stems) > 1:
        raise HandsimError(
            f"{path} holds {len(stems)} ResNets ({', '.join(repr(prefix) for prefix, _ in stems)}); "
            f"save the one you mean alone"
        )
    [(prefix, stem)] = stems
    layers = _LAYERS[stem]
    plain = {}
    for name, tensor in tensors.items():
        layer, _, rest = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix):
            plain[f"{layers.get(layer, layer)}.{rest}"] = tensor
    return plain


def _split(name: str) -> tuple[str, str]:
    """``encoder.features.0.weight`` as ``encoder.features.`` and ``0.weight``."""
    path, _, last = name.rpartition(".")
    before, dot, layer = path.rpartition(".")
    return before + dot, f"{layer}.{last}"


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

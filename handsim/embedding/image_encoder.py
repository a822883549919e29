"""A trunk and the PCA after it, ready to run.

The features of a pool's hands: crops decoded on threads while the ResNet looks at those before.

What an image embedding needs to encode, as one safetensors file: a ResNet's trunk and the PCA after it.

Running a ResNet over crops: pictures in, pooled features out, the same ones every time.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch.nn import functional
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image import Architecture, Device, ImageRecord
from handsim.errors import HandsimError, UnusableError
from handsim.files import sync
from handsim.hand import format_hand_id
from handsim.images import decode_image
from handsim.pool import Pool
from handsim.processes import available_cores

_BATCHES_AHEAD: Final = 2


def encode_hands(
    pool: Pool, chunks: Iterable[NDArray[np.uint64]], trunk: "Trunk", batch: int
) -> Iterator[NDArray[np.float16]]:
    """Features [n, F] of each chunk of hands [n], looked at ``batch`` at a time.

    Raises NotThereError for a hand without a crop and HandsimError for a damaged one.
    """
    chunks = list(chunks)
    batches = [chunk[start : start + batch] for chunk in chunks for start in range(0, len(chunk), batch)]
    decoded = _decode(pool, batches)
    for chunk in chunks:
        parts = [trunk.features(next(decoded)) for _ in range(0, len(chunk), batch)]
        yield np.concatenate(parts)


def _decode(pool: Pool, batches: Sequence[NDArray[np.uint64]]) -> Iterator[list[NDArray[np.uint8]]]:
    """The crops of every batch of hands, a few batches ahead of where they are used."""
    waiting: deque[list[Future[NDArray[np.uint8]]]] = deque()
    threads = ThreadPoolExecutor(available_cores())
    try:
        for hand_ids in batches:
            # Read here, in the order they lie on the disk: a pool is not made for several threads.
            waiting.append(
                [threads.submit(_crop, pool.crop_jpeg(hand_id), hand_id) for hand_id in hand_ids.tolist()]
            )
            if len(waiting) > _BATCHES_AHEAD:
                yield [crop.result() for crop in waiting.popleft()]
        for crops in waiting:
            yield [crop.result() for crop in crops]
    finally:
        threads.shutdown(cancel_futures=True)


def _crop(jpeg: bytes, hand_id: int) -> NDArray[np.uint8]:
    try:
        return decode_image(jpeg)
    except UnusableError as error:
        raise HandsimError(
            f"the crop of hand {format_hand_id(hand_id)} is damaged ({error}); move its part of the pool "
            f"away and ingest again"
        ) from error


_TRUNK: Final = "trunk."
_MEAN: Final = "pca.mean"
_COMPONENTS: Final = "pca.components"


@dataclass(frozen=True, eq=False)
class TrunkWeights:
    """A ResNet without its classifier."""

    encoder: str
    """What people call it: the architecture, or the checkpoint's file name."""
    architecture: Architecture
    """Which ResNet it is."""
    tensors: dict[str, NDArray[np.float32]]
    """Its weights and running statistics, named as torchvision names them."""

    @cached_property
    def sha256(self) -> str:
        """64 hex digits over everything that decides its features."""
        return _digest(self.tensors)


@dataclass(frozen=True, eq=False)
class Projection:
    """The PCA after a trunk."""

    mean: NDArray[np.float64]
    """[F] mean of the features it was fitted on."""
    components: NDArray[np.float64]
    """[D, F] orthonormal rows."""

    def apply(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors [n, D] of features [n, F]."""
        vectors: NDArray[np.float64] = (features.astype(np.float64) - self.mean) @ self.components.T
        return vectors.astype(np.float32)

    @cached_property
    def sha256(self) -> str:
        """64 hex digits over both."""
        return _digest({_MEAN: self.mean, _COMPONENTS: self.components})


def write_encoder(path: Path, trunk: TrunkWeights, projection: Projection) -> None:
    """Write both to ``path``, which appears whole or not at all; raises HandsimError if it cannot."""
    tensors: dict[str, NDArray[Any]] = {_TRUNK + name: array for name, array in trunk.tensors.items()}
    tensors |= {_MEAN: projection.mean, _COMPONENTS: np.ascontiguousarray(projection.components)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, {"encoder": trunk.encoder, "architecture": trunk.architecture})
        temporary.chmod(0o644)  # safetensors gives it to its owner alone; a browser may be another user
        sync(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise HandsimError(f"{path} cannot be written ({error}); make room and run it again") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_encoder(path: Path, encoder: str, architecture: Architecture) -> tuple[TrunkWeights, Projection]:
    """What `write_encoder` wrote; raises HandsimError for another or a damaged file."""
    try:
        tensors = load_file(path)
        projection = Projection(tensors.pop(_MEAN), tensors.pop(_COMPONENTS))
    except (OSError, SafetensorError, KeyError) as error:
        raise HandsimError(
            f"{path} is not an encoder's file, or is damaged ({error}); fit the embedding again"
        ) from error
    trunk = {name.removeprefix(_TRUNK): array for name, array in tensors.items()}
    return TrunkWeights(encoder, architecture, trunk), projection


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Of RGB in 0..1: what torchvision's ResNets were trained with."""


class Trunk:
    """A ResNet up to its pooled features, ready to run."""

    def __init__(self, weights: TrunkWeights, image_size_px: int, device: Device = "auto") -> None:
        """Put it on the device; raises HandsimError for ``cuda`` where no GPU can be used."""
        if device == "cuda" and not torch.cuda.is_available():
            raise HandsimError("no GPU can be used here; ask for --device cpu, or auto")
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._size_px = image_size_px
        with torch.device("meta"):
            network = models.get_model(weights.architecture, weights=None)
        network.fc = torch.nn.Identity()
        state = {name: torch.from_numpy(array) for name, array in weights.tensors.items()}
        # assign: the weights replace the network's placeholders. Not strict: counters of batches seen in
        # training are not kept, and have no say.
        network.load_state_dict(state, strict=False, assign=True)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.num_batches_tracked = None
        # Channels last: the convolutions of a CPU run half again as fast.
        self._network = network.to(self._device, memory_format=torch.channels_last).eval()
        self._mean, self._std = (
            torch.tensor(numbers, device=self._device).view(1, 3, 1, 1)
            for numbers in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def features(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float16]:
        """Pooled features [n, F] of RGB crops [S, S, 3], each resized to the size the trunk looks at.

        Half precision, as they are kept on disk: a hand lands in the same place whether its features
        were kept or not. Raises HandsimError when they are no numbers, or when a GPU's memory is too small.
        """
        try:
            with torch.inference_mode(), _as_a_cpu_would():
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
        alike = len({crop.shape for crop in crops}) == 1
        groups = [np.stack(crops)] if alike else [crop[None] for crop in crops]
        pictures = torch.cat([self._resized(group) for group in groups])
        return ((pictures - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    def _resized(self, crops: NDArray[np.uint8]) -> torch.Tensor:
        """Crops [n, S, S, 3] as float32 [n, 3, size, size] in 0..1."""
        pictures = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).float() / 255
        if pictures.shape[-2:] == (self._size_px, self._size_px):
            return pictures
        size = (self._size_px, self._size_px)
        return functional.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)


def _as_a_cpu_would() -> AbstractContextManager[None]:
    """A GPU left to itself multiplies with 10 bits, and chooses between ways that round differently."""
    return torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False, fp32_precision="ieee"
    )


class Encoder:
    """From crops to vectors."""

    def __init__(self, trunk: Trunk, projection: Projection) -> None:
        self._trunk, self._projection = trunk, projection

    @classmethod
    def load(cls, path: Path, record: ImageRecord) -> "Encoder":
        """From the weights file of ``record``; raises HandsimError when it is damaged or another one."""
        weights, projection = read_encoder(path, record.encoder, record.architecture)
        if (weights.sha256, projection.sha256) != (record.trunk_sha256, record.pca_sha256):
            raise HandsimError(
                f"{path} was altered: its numbers do not have the checksums of its embedding; "
                f"copy it again from the home it was fitted in, or fit the embedding again"
            )
        return cls(Trunk(weights, record.image_size_px), projection)

    def vectors(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Vectors [n, D] of one batch of RGB crops [S, S, 3]."""
        return self._projection.apply(self._trunk.features(crops))

    def hands(self, pool: Pool, hand_ids: NDArray[np.uint64], batch: int) -> NDArray[np.float32]:
        """Vectors [n, D] of hands [n] of a pool."""
        features = encode_hands(pool, [hand_ids], self._trunk, batch)
        return np.concatenate([self._projection.apply(chunk) for chunk in features])

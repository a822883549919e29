"""What an image embedding needs to encode, as one safetensors file: a ResNet's trunk and the PCA after it."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from handsim.atomic_file import sync
from handsim.embedding.image.architectures import Architecture
from handsim.errors import HandsimError

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

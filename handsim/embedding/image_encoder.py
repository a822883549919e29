"""The encoder of an image embedding, a trunk and the PCA after it: running it, and its safetensors file.

The file holds the trunk's weights as ``trunk.<torchvision's name>``, and ``pca.mean`` and ``pca.components``.
Crops are decoded on threads while the trunk works on the batches before.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from handsim.checkpoints import describe_unreadable
from handsim.embedding.image import ImageRecord
from handsim.embedding.trunk import Trunk, TrunkWeights, digest_tensors
from handsim.errors import HandsimError
from handsim.files import replacing
from handsim.pool import Pool
from handsim.pool.crops import decode_central
from handsim.processes import available_cores

_TRUNK: Final = "trunk."
_MEAN: Final = "pca.mean"
_COMPONENTS: Final = "pca.components"
_BATCHES_AHEAD: Final = 2


@dataclass(frozen=True, eq=False)
class Projection:
    """The PCA after a trunk."""

    mean: NDArray[np.float64]
    """[F] mean of the features it was fitted on."""
    components: NDArray[np.float64]
    """[D, F] orthonormal rows."""

    def transform(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors [n, D] of features [n, F]."""
        vectors: NDArray[np.float64] = (features.astype(np.float64) - self.mean) @ self.components.T
        return vectors.astype(np.float32)

    @cached_property
    def sha256(self) -> str:
        """64 hex digits over both."""
        return digest_tensors({_MEAN: self.mean, _COMPONENTS: self.components})


class Encoder:
    """From crops to vectors."""

    def __init__(self, trunk: Trunk, projection: Projection) -> None:
        self._trunk, self._projection = trunk, projection

    @classmethod
    def load(cls, path: Path, record: ImageRecord) -> "Encoder":
        """From the weights file of ``record``; raises as `read_encoder`."""
        weights, projection = read_encoder(path, record)
        return cls(Trunk(weights, record.image_size_px), projection)

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Vectors [n, D] of one batch of RGB crops [S, S, 3]."""
        return self._projection.transform(self._trunk.extract_features(crops))

    def encode_hands(self, pool: Pool, hand_ids: NDArray[np.uint64], batch: int) -> NDArray[np.float32]:
        """Vectors [n, D] of hands [n] of a pool; raises as `extract_hand_features`."""
        [features] = extract_hand_features(pool, [hand_ids], self._trunk, batch)
        return self._projection.transform(features)


def read_encoder(path: Path, record: ImageRecord) -> tuple[TrunkWeights, Projection]:
    """The weights file of ``record``; raises HandsimError for a damaged or another file."""
    try:
        tensors = load_file(path)
        projection = Projection(tensors.pop(_MEAN), tensors.pop(_COMPONENTS))
    except (OSError, SafetensorError) as error:
        # Here, too: safetensors calls a file missing whatever keeps it from opening it.
        fault = describe_unreadable(path, error)
        raise HandsimError(f"{path} {fault}, or fit the embedding again") from error
    except KeyError as error:
        raise HandsimError(
            f"{path} is not the file of an embedding's encoder: it has no {error}; fit the embedding again"
        ) from error
    weights = TrunkWeights(
        record.encoder,
        record.architecture,
        {name.removeprefix(_TRUNK): array for name, array in tensors.items()},
    )
    if (weights.sha256, projection.sha256) != (record.trunk_sha256, record.pca_sha256):
        raise HandsimError(
            f"{path} was altered: its numbers do not have the checksums of its embedding; "
            f"copy it again from the home it was fitted in, or fit the embedding again"
        )
    return weights, projection


def write_encoder(path: Path, trunk: TrunkWeights, projection: Projection) -> None:
    """Write both to ``path``, which appears whole or not at all; raises HandsimError if it cannot."""
    tensors: dict[str, NDArray[Any]] = {_TRUNK + name: array for name, array in trunk.tensors.items()}
    tensors |= {_MEAN: projection.mean, _COMPONENTS: np.ascontiguousarray(projection.components)}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, {"encoder": trunk.encoder, "architecture": trunk.architecture})
            temporary.chmod(0o644)  # safetensors lets only its owner read it; a browser may be another user
    except (OSError, SafetensorError) as error:
        raise HandsimError(f"{path} cannot be written ({error}); mend that and run it again") from error


def extract_hand_features(
    pool: Pool, chunks: Iterable[NDArray[np.uint64]], trunk: Trunk, batch: int
) -> Iterator[NDArray[np.float16]]:
    """Features [n, F] of each chunk of hands [n] of a pool, ``batch`` crops at a time.

    Raises NotThereError for a hand without a crop and HandsimError for a damaged one.
    """
    chunks = list(chunks)
    batches = [chunk[start : start + batch] for chunk in chunks for start in range(0, len(chunk), batch)]
    decoded = _decode(pool, batches)
    for chunk in chunks:
        parts = [trunk.extract_features(next(decoded)) for _ in range(0, len(chunk), batch)]
        yield np.concatenate(parts)


def _decode(pool: Pool, batches: Sequence[NDArray[np.uint64]]) -> Iterator[list[NDArray[np.uint8]]]:
    """The crops of every batch of hands, decoded a few batches before they are used."""
    waiting: deque[list[Future[NDArray[np.uint8]]]] = deque()
    threads = ThreadPoolExecutor(available_cores())
    try:
        for hand_ids in batches:
            # Read on this thread, in the order they lie on the disk: a pool is not made for several threads.
            jpegs = [(pool.stored_jpeg(hand_id), hand_id) for hand_id in hand_ids.tolist()]
            enlargement = pool.crop_enlargement
            waiting.append([threads.submit(decode_central, *jpeg, enlargement) for jpeg in jpegs])
            if len(waiting) > _BATCHES_AHEAD:
                yield [crop.result() for crop in waiting.popleft()]
        for crops in waiting:
            yield [crop.result() for crop in crops]
    finally:
        threads.shutdown(cancel_futures=True)

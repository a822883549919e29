"""A trunk and the PCA after it, ready to run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.embedding.image.encoder_file import Projection, read_encoder
from handsim.embedding.image.encoding import encode_hands
from handsim.embedding.image.record import ImageRecord
from handsim.embedding.image.trunk import Trunk
from handsim.errors import HandsimError
from handsim.pool import Pool


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

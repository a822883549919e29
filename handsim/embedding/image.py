"""The embedding of crops by a trained encoder: its pooled features and a PCA.

It is fitted by `handsim.embedding.image_fit`. Its JSON file holds all but the weights: an index needs no more
to say what it was built with, and a process without torch reads it. The weights lie beside it in a
safetensors file of their own, which is read and verified when something has to be encoded.

The vectors of a pool's hands are cached beside the pool (`RowCache`), so each hand is encoded once.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from handsim.embedding.base import (
    Kind,
    PosedHands,
    Rows,
    Unlabelled,
    check_fingerprint,
    check_version,
    not_an_embedding,
)
from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing, write_text_atomically
from handsim.pool import Pool
from handsim.pool.row_cache import VECTORS_FOLDER, RowCache

if TYPE_CHECKING:
    from handsim.embedding.image_encoder import Encoder

Architecture = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "convnext_tiny",
    "vit_small_16",
    "vit_base_16",
    "vit_small_dinov2",
    "vit_base_dinov2",
    "vit_small_dinov2_reg",
    "vit_base_dinov2_reg",
    "vit_small_dinov3",
    "vit_base_dinov3",
]
FEATURES: Final[dict[Architecture, int]] = {
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet152": 2048,
    "convnext_tiny": 768,
    "vit_small_16": 384,
    "vit_base_16": 768,
    "vit_small_dinov2": 384,
    "vit_base_dinov2": 768,
    "vit_small_dinov2_reg": 384,
    "vit_base_dinov2_reg": 768,
    "vit_small_dinov3": 384,
    "vit_base_dinov3": 768,
}
"""F, how many pooled features each has."""

Device = Literal["auto", "cpu", "cuda"]
"""``auto``: a GPU where there is one."""

FORMAT: Final = "handsim-image-embedding"
_FORMAT_VERSION: Final = 1
DEFAULT_BATCH: Final = 64


@dataclass(frozen=True)
class ImageRecord:
    """What the JSON of an image embedding says: all but the weights, which lie in `encoder_file`."""

    encoder: str
    """The network's name for people: its architecture, or the checkpoint's file name."""
    architecture: Architecture
    image_size_px: int
    """The side that crops are resized to."""
    trunk_sha256: str
    """Of the network's weights."""
    pca_sha256: str
    """Of the mean and the components."""
    dimension: int
    """D, the number of components."""
    fitted_hands: int
    total_variance: float
    """Variance of the features over all F of them."""
    explained_variance: tuple[float, ...]
    """[D] variance along each component, falling."""

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a vector."""
        parts = [
            FORMAT,
            _FORMAT_VERSION,
            self.architecture,
            self.image_size_px,
            self.trunk_sha256,
            self.pca_sha256,
            self.dimension,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def encoder_file(self) -> str:
        """Name of the file that holds the weights."""
        return f"encoder-{self.fingerprint}.safetensors"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "format": FORMAT,
            "version": _FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            **asdict(self),
            "explained_variance": list(self.explained_variance),
        }

    @classmethod
    def from_json(cls, metadata: dict[str, Any], origin: str | Path) -> "ImageRecord":
        """The inverse of `to_json`; raises HandsimError, naming ``origin``, for damaged or altered values."""
        check_version(metadata, _FORMAT_VERSION, origin)
        try:
            if metadata["architecture"] not in FEATURES:
                raise ValueError(f"unknown architecture {metadata['architecture']!r}")
            record = cls(
                encoder=str(metadata["encoder"]),
                architecture=metadata["architecture"],
                image_size_px=int(metadata["image_size_px"]),
                trunk_sha256=str(metadata["trunk_sha256"]),
                pca_sha256=str(metadata["pca_sha256"]),
                dimension=int(metadata["dimension"]),
                fitted_hands=int(metadata["fitted_hands"]),
                total_variance=float(metadata["total_variance"]),
                explained_variance=tuple(map(float, metadata["explained_variance"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise not_an_embedding(origin, error) from error
        check_fingerprint(metadata, record.fingerprint, origin)
        return record


class ImageEmbedding:
    """A fitted embedding of crops: hands are near each other where the encoder finds their pictures alike."""

    def __init__(self, record: ImageRecord, weights_folders: Sequence[Path]) -> None:
        """The weights file is looked for in ``weights_folders``, in turn, when it is needed."""
        self.kind: Kind = "image"
        self.unlabelled: Unlabelled = "refuse"
        self.depth = self.up_to_turn = False
        """Its vectors need no joints; what is done with neighbours does (weights, measures)."""
        self.record, self.dimension, self.fingerprint = record, record.dimension, record.fingerprint
        self._folders = tuple(weights_folders)
        self._cache: tuple[Path, RowCache] | None = None

    @property
    def explained_variance_ratio_(self) -> NDArray[np.float64]:
        """[D] share of the features' variance along each component, falling."""
        return np.array(self.record.explained_variance) / (self.record.total_variance or 1.0)

    def embed(
        self,
        *,
        keypoints: NDArray[np.floating] | None = None,
        crops: Sequence[NDArray[np.uint8]] | None = None,
    ) -> NDArray[np.float32]:
        """See `Embedding.embed`; raises NotThereError when the weights file is in none of the folders."""
        if crops is None:
            raise HandsimError(
                "this index embeds pictures, keypoints alone cannot be placed in it; "
                "ask with a picture or a hand's id"
            )
        for number, crop in enumerate(crops):
            if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape != (len(crop), len(crop), 3):
                raise HandsimError(
                    f"crop {number} is {crop.dtype} {list(crop.shape)}; an RGB crop is uint8 [S, S, 3]"
                )
        batches = [crops[start : start + DEFAULT_BATCH] for start in range(0, len(crops), DEFAULT_BATCH)]
        empty = np.empty((0, self.dimension), dtype=np.float32)
        return np.concatenate([empty, *(self._encoder.encode(batch) for batch in batches)])

    def embed_hands(self, hands: PosedHands, rows: Rows) -> NDArray[np.float32]:
        """Vectors [n, D] of a pool's hands: from the cache beside it, and the others encoded and cached.

        Raises HandsimError unless ``hands`` is a `handsim.pool.Pool`, NotThereError for a hand without a
        crop or when the weights file is needed and missing.
        """
        if not isinstance(hands, Pool):
            raise HandsimError(
                "this embedding looks at crops, and these hands have keypoints alone; give it a pool"
            )
        hand_ids = hands.hand_ids[rows]
        cache = self._cache_beside(hands)
        cached = cache.contains(hand_ids)
        if cached.all():
            return cache.read(hand_ids)
        encoded = self._encoder.encode_hands(hands, hand_ids[~cached], DEFAULT_BATCH)
        # A pool that is mounted read-only has no room for its new hands: they are encoded every time.
        if os.access(hands.path.parent, os.W_OK):
            cache.add(hand_ids[~cached], encoded)
        vectors = np.empty((len(hand_ids), self.dimension), dtype=np.float32)
        vectors[cached], vectors[~cached] = cache.read(hand_ids[cached]), encoded
        return vectors

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, except the weights: of these the checksums."""
        return self.record.to_json()

    def save(self, path: str | Path) -> None:
        """Write the JSON file and put the weights file beside it; raises NotThereError without that one."""
        path = Path(path)
        self.save_weights(path.parent)
        write_text_atomically(path, json.dumps(self.to_json(), indent=1) + "\n")

    def save_weights(self, folder: Path) -> None:
        """Put the weights file into a folder: a hard link on the same disk, else a copy; raises as `save`."""
        target = folder / self.record.encoder_file
        if target.exists():
            return
        source = self.weights_file()
        with replacing(target) as temporary:
            temporary.unlink(missing_ok=True)
            try:
                os.link(source, temporary)
            except OSError:  # another disk, or one without hard links
                shutil.copyfile(source, temporary)

    @classmethod
    def from_json(
        cls, metadata: dict[str, Any], weights_folders: Sequence[Path], origin: str | Path
    ) -> "ImageEmbedding":
        """The inverse of `to_json`; raises HandsimError, naming ``origin``, for damaged or altered values."""
        return cls(ImageRecord.from_json(metadata, origin), weights_folders)

    @cached_property
    def _encoder(self) -> "Encoder":
        from handsim.embedding.image_encoder import Encoder

        return Encoder.load(self.weights_file(), self.record)

    def weights_file(self) -> Path:
        """The file that holds the weights; raises NotThereError when it is in none of the folders."""
        for folder in self._folders:
            if (folder / self.record.encoder_file).is_file():
                return folder / self.record.encoder_file
        folders = ", ".join(map(str, self._folders)) or "no folder was given"
        raise NotThereError(
            f"the weights of the encoder, {self.record.encoder_file}, are missing ({folders}); "
            f"copy that file there from the home the embedding was fitted in"
        )

    def _cache_beside(self, pool: Pool) -> RowCache:
        folder = vectors_folder(pool, self.record)
        if self._cache is None or self._cache[0] != folder:
            self._cache = folder, RowCache(folder, self.dimension, np.float32)
        return self._cache[1]


def vectors_folder(pool: Pool, record: ImageRecord) -> Path:
    """Where the vectors of a pool's hands are cached."""
    return pool.path.parent / VECTORS_FOLDER / record.fingerprint

"""The embedding of crops by a trained encoder."""

import json
import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.atomic_file import sync, write_text_atomically
from handsim.embedding.facts import read_facts
from handsim.embedding.image.kept_rows import KeptRows
from handsim.embedding.image.record import ImageRecord
from handsim.embedding.protocol import Kind, PosedHands, Rows
from handsim.errors import HandsimError, NotThereError
from handsim.pool import Pool

if TYPE_CHECKING:
    from handsim.embedding.image.encoder import Encoder

DEFAULT_BATCH: Final = 64


class ImageEmbedding:
    """A fitted embedding of crops: a ResNet's pooled features and a PCA; near means alike to that ResNet.

    Made by `fit_image_embedding`. It is known by its JSON alone; the weights lie beside that in a file of
    their own, which is looked for, read and verified when something has to be encoded.
    """

    def __init__(self, record: ImageRecord, weights_folders: Sequence[Path]) -> None:
        """The weights file is looked for in ``weights_folders``, in turn, when it is needed."""
        self.record = record
        self._folders = tuple(weights_folders)
        self._kept: tuple[Path, KeptRows] | None = None

    @property
    def kind(self) -> Kind:
        """``image``: it looks at crops."""
        return "image"

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return self.record.dimension

    @property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a vector; equal fingerprints give comparable vectors."""
        return self.record.fingerprint

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
        """Vectors [Q, D] of RGB crops, each [S, S, 3] of any size, told as right hands.

        Keypoints are not looked at. Raises HandsimError without crops, and NotThereError when the weights
        file is in none of the folders.
        """
        if crops is None:
            raise HandsimError(
                "this index embeds pictures, keypoints alone cannot be placed in it; "
                "ask with a picture or a hand's id"
            )
        for number, crop in enumerate(crops):
            if (
                crop.ndim != 3
                or crop.shape[2] != 3
                or crop.shape[0] != crop.shape[1]
                or crop.dtype != np.uint8
            ):
                raise HandsimError(
                    f"crop {number} is {crop.dtype} {list(crop.shape)}; an RGB crop is uint8 [S, S, 3]"
                )
        batches = [crops[start : start + DEFAULT_BATCH] for start in range(0, len(crops), DEFAULT_BATCH)]
        empty = np.empty((0, self.dimension), dtype=np.float32)
        return np.concatenate([empty, *(self._encoder.vectors(batch) for batch in batches)])

    def embed_hands(self, hands: PosedHands, rows: Rows) -> NDArray[np.float32]:
        """Vectors [n, D] of a pool's hands: those that are kept beside it, and the others encoded and kept.

        Raises HandsimError unless ``hands`` is a `handsim.pool.Pool`, NotThereError for a hand without a
        crop or when the weights file is needed and missing.
        """
        if not isinstance(hands, Pool):
            raise HandsimError(
                "this embedding looks at crops, and these hands have keypoints alone; give it a pool"
            )
        hand_ids = hands.hand_ids[rows]
        kept = self._kept_beside(hands)
        missing = hand_ids[~kept.has(hand_ids)]
        if not len(missing):
            return kept.read(hand_ids)
        encoded = self._encoder.hands(hands, missing, DEFAULT_BATCH)
        if os.access(hands.path.parent, os.W_OK):
            kept.keep(missing, encoded)
            return kept.read(hand_ids)
        # A pool that is mounted read-only: its new hands are encoded every time.
        vectors = np.empty((len(hand_ids), self.dimension), dtype=np.float32)
        known = kept.has(hand_ids)
        vectors[known], vectors[~known] = kept.read(hand_ids[known]), encoded
        return vectors

    def facts(self) -> dict[str, Any]:
        """What the JSON holds: all but the weights, which are told by their checksums."""
        return self.record.facts()

    def save(self, path: str | Path) -> None:
        """Write the JSON to ``path``, atomically, and put the weights file beside it if it is not there.

        Raises NotThereError without that file.
        """
        path = Path(path)
        self.save_weights(path.parent)
        write_text_atomically(path, json.dumps(self.facts(), indent=1) + "\n")

    def save_weights(self, folder: Path) -> None:
        """Put the weights file into a folder if it is not there; raises NotThereError without it.

        On one disk the file is shared (a hard link), else copied.
        """
        weights = folder / self.record.encoder_file
        if not weights.exists():
            _link_or_copy(self._weights_file(), weights)

    @classmethod
    def load(cls, path: str | Path) -> "ImageEmbedding":
        """Read what `save` wrote; raises NotThereError, or HandsimError for a damaged or altered file."""
        path = Path(path)
        return cls.from_facts(read_facts(path), [path.parent], path)

    @classmethod
    def from_facts(
        cls, facts: dict[str, Any], weights_folders: Sequence[Path], origin: str | Path
    ) -> "ImageEmbedding":
        """What told these `facts`; raises HandsimError, naming ``origin``, if they are damaged or altered."""
        return cls(ImageRecord.from_facts(facts, origin), weights_folders)

    @cached_property
    def _encoder(self) -> "Encoder":
        from handsim.embedding.image.encoder import Encoder  # torch, only once something is encoded

        return Encoder.load(self._weights_file(), self.record)

    def _weights_file(self) -> Path:
        for folder in self._folders:
            if (folder / self.record.encoder_file).is_file():
                return folder / self.record.encoder_file
        looked = ", ".join(map(str, self._folders)) or "no folder was given"
        raise NotThereError(
            f"the weights of the encoder, {self.record.encoder_file}, are missing ({looked}); "
            f"copy that file there from the home the embedding was fitted in"
        )

    def _kept_beside(self, pool: Pool) -> KeptRows:
        folder = vectors_folder(pool, self.record)
        if self._kept is None or self._kept[0] != folder:
            self._kept = folder, KeptRows(folder, self.dimension, np.float32)
        return self._kept[1]


def vectors_folder(pool: Pool, record: ImageRecord) -> Path:
    """Where the vectors of a pool's hands are kept."""
    return pool.path.parent / "vectors" / record.fingerprint


def _link_or_copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, temporary)
        sync(temporary)
    os.replace(temporary, target)

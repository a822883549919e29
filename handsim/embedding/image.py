"""The embedding of crops by a trained encoder.

Rows of numbers kept on disk by hand id: what took long to compute is computed once.

    <folder>/<digest>.rows.npy       [n, width]
    <folder>/<digest>.hand_ids.npy   [n] uint64; the rows count from when this file is there

Files are only ever added, each by one rename, so a killed writer loses nothing that it had kept. They are
mapped into memory: two million rows cost the pages that are looked at.

The ResNets that can encode, and what they run on.

What is known of an image embedding without its weights: the JSON it is written as.
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
from numpy.typing import DTypeLike, NDArray

from handsim.embedding.base import (
    Kind,
    PosedHands,
    Rows,
    check_fingerprint,
    check_version,
    not_an_embedding,
    read_facts,
)
from handsim.errors import HandsimError, NotThereError
from handsim.files import sync, write_text_atomically
from handsim.pool import Pool

if TYPE_CHECKING:
    from handsim.embedding.image_encoder import Encoder


_ROWS: Final = ".rows.npy"
_HAND_IDS: Final = ".hand_ids.npy"


class KeptRows:
    """Rows [N, width] of one kind of number by hand id, in a folder that is made when the first is kept."""

    def __init__(self, folder: Path, width: int, dtype: DTypeLike) -> None:
        """Open what is there; raises HandsimError when it is damaged, or of another width or dtype."""
        self._folder, self._width, self._dtype = folder, width, np.dtype(dtype)
        self._files: list[NDArray[Any]] = []
        self._hand_ids = np.empty(0, dtype=np.uint64)  # sorted
        self._file_of = np.empty(0, dtype=np.int32)
        self._row_in_file = np.empty(0, dtype=np.int64)
        self._open_files([path.name.removesuffix(_HAND_IDS) for path in folder.glob(f"*{_HAND_IDS}")])

    def has(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[M] whether the rows of hands [M] are kept."""
        places = np.searchsorted(self._hand_ids, hand_ids)
        found = places < len(self._hand_ids)
        found[found] = self._hand_ids[places[found]] == hand_ids[found]
        return found

    def read(self, hand_ids: NDArray[np.uint64]) -> NDArray[Any]:
        """Rows [M, width] of hands [M], all of which are kept."""
        places = np.searchsorted(self._hand_ids, hand_ids)
        files, within = self._file_of[places], self._row_in_file[places]
        rows = np.empty((len(hand_ids), self._width), dtype=self._dtype)
        for number in np.unique(files):
            here = files == number
            rows[here] = self._files[number][within[here]]
        return rows

    def keep(self, hand_ids: NDArray[np.uint64], rows: NDArray[Any]) -> None:
        """Keep rows [n, width] of hands [n] that are not kept yet, down to the disk.

        Raises HandsimError when they cannot be written.
        """
        if not len(hand_ids):
            return
        # Named by what it holds: two processes that keep the same hands write the same file.
        name = hashlib.sha256(hand_ids.astype("<u8").tobytes()).hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(self._folder / (name + _ROWS), rows.astype(self._dtype))
            _write(self._folder / (name + _HAND_IDS), hand_ids.astype(np.uint64))
            sync(self._folder)
        except OSError as error:
            raise HandsimError(
                f"{len(hand_ids):,} hands cannot be kept in {self._folder} ({error.strerror or error}); "
                f"make room and run it again, it goes on where it stopped"
            ) from error
        self._open_files([name])

    def _open_files(self, names: Sequence[str]) -> None:
        hand_ids, file_of, row_in_file = [self._hand_ids], [self._file_of], [self._row_in_file]
        for name in names:
            ids, rows = self._map_file(name)
            hand_ids.append(ids)
            file_of.append(np.full(len(ids), len(self._files), dtype=np.int32))
            row_in_file.append(np.arange(len(ids)))
            self._files.append(rows)
        self._hand_ids = np.concatenate(hand_ids)
        order = np.argsort(self._hand_ids, kind="stable")
        self._hand_ids = self._hand_ids[order]
        self._file_of = np.concatenate(file_of)[order]
        self._row_in_file = np.concatenate(row_in_file)[order]

    def _map_file(self, name: str) -> tuple[NDArray[np.uint64], NDArray[Any]]:
        try:
            ids = np.load(self._folder / (name + _HAND_IDS), allow_pickle=False)
            rows = np.load(self._folder / (name + _ROWS), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(name, error) from error
        if rows.shape != (len(ids), self._width) or rows.dtype != self._dtype:
            raise self._damaged(name, f"{rows.dtype} {list(rows.shape)} for {len(ids)} hands")
        return ids, rows

    def _damaged(self, name: str, why: object) -> HandsimError:
        return HandsimError(
            f"{self._folder / name}.* is damaged ({why}); delete {self._folder}, it is made anew when needed"
        )


def _write(path: Path, array: NDArray[Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


Architecture = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
FEATURES: Final[dict[Architecture, int]] = {
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet152": 2048,
}
"""F, how many pooled features each has."""

Device = Literal["auto", "cpu", "cuda"]
"""``auto``: a GPU where there is one."""


FORMAT: Final = "handsim-image-embedding"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class ImageRecord:
    """An image embedding but for its weights, which lie in `encoder_file` and are told by their checksums."""

    encoder: str
    """What people call the network: its architecture, or the checkpoint's file name."""
    architecture: Architecture
    """Which ResNet it is."""
    image_size_px: int
    """The side that crops are resized to."""
    trunk_sha256: str
    """Of the network's weights."""
    pca_sha256: str
    """Of the mean and the components."""
    dimension: int
    """D, how many components are kept."""
    fitted_hands: int
    """How many hands the PCA was fitted on."""
    total_variance: float
    """Variance of the features over all F of them."""
    explained_variance: tuple[float, ...]
    """[D] variance along each component, falling."""

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a vector."""
        decides = [
            FORMAT,
            FORMAT_VERSION,
            self.architecture,
            self.image_size_px,
            self.trunk_sha256,
            self.pca_sha256,
            self.dimension,
        ]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]

    @property
    def features(self) -> int:
        """F, how many features the network pools."""
        return FEATURES[self.architecture]

    @property
    def encoder_file(self) -> str:
        """Name of the file that holds the weights."""
        return f"encoder-{self.fingerprint}.safetensors"

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            **asdict(self),
            "explained_variance": list(self.explained_variance),
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any], origin: str | Path) -> "ImageRecord":
        """What told these `facts`; raises HandsimError, naming ``origin``, if they are damaged or altered."""
        check_version(facts, FORMAT_VERSION, origin)
        try:
            if facts["architecture"] not in FEATURES:
                raise ValueError(f"unknown architecture {facts['architecture']!r}")
            record = cls(
                encoder=str(facts["encoder"]),
                architecture=facts["architecture"],
                image_size_px=int(facts["image_size_px"]),
                trunk_sha256=str(facts["trunk_sha256"]),
                pca_sha256=str(facts["pca_sha256"]),
                dimension=int(facts["dimension"]),
                fitted_hands=int(facts["fitted_hands"]),
                total_variance=float(facts["total_variance"]),
                explained_variance=tuple(map(float, facts["explained_variance"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise not_an_embedding(origin, error) from error
        check_fingerprint(facts, record.fingerprint, origin)
        return record


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
        from handsim.embedding.image_encoder import Encoder

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

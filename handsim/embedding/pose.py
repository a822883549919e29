"""SiMHand's pose embedding: normalised 2D keypoints and a PCA, fitted once over the whole pool."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.atomic_file import write_text_atomically
from handsim.embedding.normalise import NORMALISATIONS, Normalisation, normalise
from handsim.errors import HandsimError, NotThereError
from handsim.pool import Pool
from handsim.skeleton import JOINT_COUNT

DEFAULT_COMPONENTS: Final = 14
DEFAULT_NORMALISATION: Final[Normalisation] = "centre-scale"
FEATURES: Final = JOINT_COUNT * 2
FORMAT_VERSION: Final = 1
_CHUNK_HANDS: Final = 65_536


@dataclass(frozen=True, eq=False)
class PoseEmbedding:
    """A fitted embedding of poses; Euclidean distance between its vectors is how unlike two hands are.

    Source: SiMHand (arXiv 2502.15251), section 3.2: the 42 flattened 2D keypoints, PCA to 14 numbers.
    Unlike the authors' code it is fitted once over the pool, not per batch, so vectors can be compared.
    """

    normalisation: Normalisation
    """What was taken out of the keypoints first."""
    mean_: NDArray[np.float64]
    """[42] mean of the normalised poses."""
    components_: NDArray[np.float64]
    """[D, 42] orthonormal rows, by falling variance; the largest entry of each is positive."""
    explained_variance_: NDArray[np.float64]
    """[D] variance along each component."""
    total_variance_: float
    """Variance of the normalised poses over all 42 numbers."""
    fitted_hands: int
    """How many hands it was fitted on."""

    @classmethod
    def fit(
        cls,
        hands: Pool | NDArray[np.floating],
        components: int = DEFAULT_COMPONENTS,
        normalisation: Normalisation = DEFAULT_NORMALISATION,
    ) -> "PoseEmbedding":
        """Fit on a pool, or on keypoints [N, 21, 2 or 3]: exact, in one pass and bounded memory.

        Raises HandsimError for a component count outside 1..42, an unknown normalisation, or too few hands.
        """
        if not 1 <= components <= FEATURES:
            raise HandsimError(f"components is {components}; 21 joints in 2D have 1 to {FEATURES}")
        if normalisation not in NORMALISATIONS:
            raise HandsimError(f"unknown normalisation {normalisation!r}; choose {', '.join(NORMALISATIONS)}")
        keypoints = hands.keypoints if isinstance(hands, Pool) else hands
        if len(keypoints) <= components:
            raise HandsimError(
                f"{len(keypoints)} hands are too few to fit {components} components; "
                f"`handsim ingest` more, or ask for fewer components"
            )
        mean, covariance = _moments(normalise(chunk, normalisation) for chunk in _chunks(keypoints))
        variances, vectors = np.linalg.eigh(covariance)
        rows = vectors.T[::-1][:components]
        largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1, keepdims=True), axis=1)
        return cls(
            normalisation=normalisation,
            mean_=mean,
            components_=rows * np.where(largest < 0, -1.0, 1.0),
            explained_variance_=np.maximum(variances[::-1][:components], 0.0),
            total_variance_=float(np.trace(covariance)),
            fitted_hands=len(keypoints),
        )

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return len(self.components_)

    @property
    def explained_variance_ratio_(self) -> NDArray[np.float64]:
        """[D] share of the total variance along each component."""
        return self.explained_variance_ / (self.total_variance_ or 1.0)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a vector; equal fingerprints give equal vectors."""
        digest = hashlib.sha256(self.normalisation.encode())
        for numbers in (self.mean_, self.components_):
            digest.update(json.dumps(numbers.shape).encode() + numbers.astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    def transform(self, keypoints: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors float32 [N, D] of keypoints [N, 21, 2 or 3] in the crop's unit square.

        Raises HandsimError for another shape, NaN or infinity.
        """
        vectors = np.empty((len(keypoints), self.dimension), dtype=np.float32)
        for start, chunk in zip(range(0, len(keypoints), _CHUNK_HANDS), _chunks(keypoints), strict=False):
            centred = normalise(chunk, self.normalisation) - self.mean_
            vectors[start : start + len(chunk)] = centred @ self.components_.T
        return vectors

    def save(self, path: str | Path) -> None:
        """Write it as JSON that people can read, atomically; numbers come back bit by bit."""
        facts = {
            "format": "handsim-pose-embedding",
            "version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "normalisation": self.normalisation,
            "fitted_hands": self.fitted_hands,
            "total_variance": self.total_variance_,
            "explained_variance": self.explained_variance_.tolist(),
            "mean": self.mean_.tolist(),
        }
        # One component a line: readable, and short enough to compare two files by eye.
        rows = ",\n  ".join(json.dumps(row) for row in self.components_.tolist())
        text = json.dumps(facts, indent=1)[:-2] + f',\n "components": [\n  {rows}\n ]\n}}\n'
        write_text_atomically(Path(path), text)

    @classmethod
    def load(cls, path: str | Path) -> "PoseEmbedding":
        """Read what `save` wrote; raises NotThereError, or HandsimError for a damaged or altered file."""
        path = Path(path)
        if not path.exists():
            raise NotThereError(f"there is no embedding at {path}; `handsim embedding fit` makes one")
        try:
            facts = json.loads(path.read_text())
            version, written = int(facts["version"]), str(facts["fingerprint"])
            embedding = cls(
                normalisation=facts["normalisation"],
                mean_=np.array(facts["mean"], dtype=np.float64),
                components_=np.array(facts["components"], dtype=np.float64),
                explained_variance_=np.array(facts["explained_variance"], dtype=np.float64),
                total_variance_=float(facts["total_variance"]),
                fitted_hands=int(facts["fitted_hands"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HandsimError(
                f"{path} is not an embedding, or is damaged ({error}); fit it again"
            ) from error
        if version > FORMAT_VERSION:
            raise HandsimError(
                f"{path} has format {version}, this handsim reads up to {FORMAT_VERSION}; upgrade it"
            )
        if embedding.fingerprint != written:
            raise HandsimError(
                f"{path} was altered: its numbers do not have its fingerprint {written}; fit it again"
            )
        return embedding


def _chunks(keypoints: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    for start in range(0, max(len(keypoints), 1), _CHUNK_HANDS):
        yield keypoints[start : start + _CHUNK_HANDS]


def _moments(chunks: Iterator[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [42] and covariance [42, 42] (n - 1) over all chunks [n, 42], merged as by Chan et al. (1979).

    Each chunk is centred by its own mean first, so that nothing cancels.
    """
    count, mean, scatter = 0, np.zeros(FEATURES), np.zeros((FEATURES, FEATURES))
    for chunk in chunks:
        total = count + len(chunk)
        chunk_mean = chunk.mean(axis=0)
        centred = chunk - chunk_mean
        shift = chunk_mean - mean
        scatter += centred.T @ centred + np.outer(shift, shift) * (count * len(chunk) / total)
        mean = mean + shift * (len(chunk) / total)
        count = total
    return mean, scatter / (count - 1)

"""What is known of an image embedding without its weights: the JSON it is written as."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from handsim.embedding.facts import check_fingerprint, check_version, not_an_embedding
from handsim.embedding.image.architectures import FEATURES, Architecture

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

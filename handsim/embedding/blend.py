"""The embedding of a pose and of its picture in one: squared distances of both, added up by shares."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding.base import (
    Kind,
    PosedHands,
    Rows,
    check_fingerprint,
    check_version,
    not_an_embedding,
    read_facts,
)
from handsim.embedding.image import ImageEmbedding
from handsim.embedding.pose import PoseEmbedding
from handsim.errors import HandsimError
from handsim.files import write_text_atomically

FORMAT: Final = "handsim-blend-embedding"
FORMAT_VERSION: Final = 1


class BlendEmbedding:
    """A pose embedding and an image embedding of one pool, side by side in one vector.

    With vectors p and q of the two, a hand lies at [sqrt(s) p / a, sqrt(1 - s) q / b], where s is the share
    of the pose, and a^2 and b^2 are the variances of p and q over the pool they were fitted on. So the
    squared distance of two hands is s |p - p'|^2 / a^2 + (1 - s) |q - q'|^2 / b^2, and of hands taken at
    random the pose makes up the share s of it.
    """

    def __init__(self, pose: PoseEmbedding, image: ImageEmbedding, pose_share: float) -> None:
        """Raises HandsimError for a share that is not between 0 and 1, and for a part that tells no hands
        apart.
        """
        if not 0 < pose_share < 1:
            raise HandsimError(
                f"pose_share is {pose_share}; it lies between 0 and 1, where there is nothing to blend: "
                "take the image embedding or the pose embedding itself"
            )
        self.pose, self.image, self.pose_share = pose, image, pose_share
        self.pose_scale = _scale("poses", pose.explained_variance_.tolist())
        """a, the root of the poses' variance over all components."""
        self.image_scale = _scale("pictures", image.record.explained_variance)
        """b, the same of the pictures."""

    @property
    def kind(self) -> Kind:
        """``blend``: it looks at keypoints and crops."""
        return "blend"

    @property
    def dimension(self) -> int:
        """D, the length of a vector: first the components of the pose, then those of the picture."""
        return self.pose.dimension + self.image.dimension

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a vector; equal fingerprints give comparable vectors."""
        numbers = (self.pose_share, self.pose_scale, self.image_scale)
        decides = [FORMAT, FORMAT_VERSION, self.pose.fingerprint, self.image.fingerprint]
        decides += [float(number).hex() for number in numbers]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]

    @property
    def explained_variance_ratio_(self) -> NDArray[np.float64]:
        """[D] share of both variances, as weighted here, along each component; falling within each part."""
        parts = [
            (self.pose_share, self.pose.explained_variance_ratio_),
            (1 - self.pose_share, self.image.explained_variance_ratio_),
        ]
        # A part counts by what its components keep, so with the rest it weighs more.
        total = sum(share / ratios.sum() for share, ratios in parts)
        return np.concatenate([share * ratios / ratios.sum() / total for share, ratios in parts])

    def embed(
        self,
        *,
        keypoints: NDArray[np.floating] | None = None,
        crops: Sequence[NDArray[np.uint8]] | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [Q, D] of hands by their keypoints [Q, 21, 2 or 3] and RGB crops, Q of [S, S, 3].

        Raises HandsimError where one of the two is missing or not as it should be, and NotThereError when the
        weights file is in none of the folders.
        """
        if keypoints is None or crops is None:
            given, other = ("pictures", "keypoints") if keypoints is None else ("keypoints", "a picture")
            raise HandsimError(
                f"this index embeds poses and pictures together, {given} alone cannot be placed in it; "
                f"ask with {other} as well, or a hand's id"
            )
        if len(keypoints) != len(crops):
            raise HandsimError(f"{len(keypoints)} poses and {len(crops)} crops; give one crop for each pose")
        return self._blend(self.pose.transform(keypoints), self.image.embed(crops=crops))

    def embed_hands(self, hands: PosedHands, rows: Rows) -> NDArray[np.float32]:
        """Vectors [n, D] of the hands of a pool at ``rows``; raises as `ImageEmbedding.embed_hands`."""
        return self._blend(self.pose.embed_hands(hands, rows), self.image.embed_hands(hands, rows))

    def _blend(self, poses: NDArray[np.float32], pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = (
            math.sqrt(self.pose_share) / self.pose_scale,
            math.sqrt(1 - self.pose_share) / self.image_scale,
        )
        parts = [part * np.float64(weight) for part, weight in zip((poses, pictures), weights, strict=True)]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values, but for the encoder's weights, which are told by their checksums."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "pose_share": self.pose_share,
            "fitted_hands": self.image.record.fitted_hands,
            "pose": self.pose.facts(),
            "image": self.image.facts(),
        }

    def save(self, path: str | Path) -> None:
        """Write the JSON to ``path``, atomically, and put the encoder's weights file beside it.

        Raises NotThereError without that file.
        """
        path = Path(path)
        self.image.save_weights(path.parent)
        write_text_atomically(path, json.dumps(self.facts(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "BlendEmbedding":
        """Read what `save` wrote; raises NotThereError, or HandsimError for a damaged or altered file."""
        path = Path(path)
        return cls.from_facts(read_facts(path), [path.parent], path)

    @classmethod
    def from_facts(
        cls, facts: dict[str, Any], weights_folders: Sequence[Path], origin: str | Path
    ) -> "BlendEmbedding":
        """What told these `facts`; raises HandsimError, naming ``origin``, if they are damaged or altered."""
        check_version(facts, FORMAT_VERSION, origin)
        try:
            told, share = {part: dict(facts[part]) for part in ("pose", "image")}, float(facts["pose_share"])
        except (ValueError, KeyError, TypeError) as error:
            raise not_an_embedding(origin, error) from error
        pose = PoseEmbedding.from_facts(told["pose"], origin)
        image = ImageEmbedding.from_facts(told["image"], weights_folders, origin)
        try:
            embedding = cls(pose, image, share)
        except HandsimError as error:
            raise not_an_embedding(origin, error) from error
        check_fingerprint(facts, embedding.fingerprint, origin)
        return embedding


def _scale(what: str, variances: Iterable[float]) -> float:
    # Summed exactly: on every machine, and after every reading, the same to the last bit.
    variance = math.fsum(variances)
    if not (math.isfinite(variance) and variance > 0):
        raise HandsimError(
            f"the variance of the {what} in their embedding is {variance:g}; "
            f"to be blended they have to differ"
        )
    return math.sqrt(variance)

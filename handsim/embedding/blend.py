"""A pose embedding and an image embedding of one pool, side by side in one vector.

With vectors p and q of the two, a hand lies at [sqrt(s) p / a, sqrt(1 - s) q / b], where s is the share of
the pose, and a^2 and b^2 are the variances of p and q over the pool they were fitted on. So the squared
distance of two hands is s |p - p'|^2 / a^2 + (1 - s) |q - q'|^2 / b^2: over random pairs of hands, the pose
contributes the share s of it.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding.base import Kind, PosedHands, Rows, check_fingerprint, check_version, not_an_embedding
from handsim.embedding.image import ImageEmbedding
from handsim.embedding.pose import PoseEmbedding
from handsim.errors import HandsimError
from handsim.files import write_text_atomically

FORMAT: Final = "handsim-blend-embedding"
_FORMAT_VERSION: Final = 1


class BlendEmbedding:
    """Keypoints and crops together, the pose weighted by ``pose_share``."""

    def __init__(self, pose: PoseEmbedding, image: ImageEmbedding, pose_share: float) -> None:
        """Raises HandsimError for a share that is not between 0 and 1, and for a part without variance."""
        if not 0 < pose_share < 1:
            raise HandsimError(
                f"pose_share is {pose_share}; it lies between 0 and 1, where there is nothing to blend: "
                "take the image embedding or the pose embedding itself"
            )
        self.kind: Kind = "blend"
        self.unlabelled, self.depth, self.up_to_turn = pose.unlabelled, pose.depth, pose.up_to_turn
        self.pose, self.image, self.pose_share = pose, image, pose_share
        self.dimension = pose.dimension + image.dimension
        """D, the length of a vector: first the components of the pose, then those of the picture."""
        self.pose_scale = _scale("poses", pose.explained_variance_.tolist())
        """a, the root of the poses' variance over all components."""
        self.image_scale = _scale("pictures", image.record.explained_variance)
        """b, the same of the pictures."""

    @cached_property
    def fingerprint(self) -> str:
        """See `Embedding.fingerprint`."""
        numbers = (self.pose_share, self.pose_scale, self.image_scale)
        parts = [FORMAT, _FORMAT_VERSION, self.pose.fingerprint, self.image.fingerprint]
        parts += [float(number).hex() for number in numbers]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def explained_variance_ratio_(self) -> NDArray[np.float64]:
        """[D] share of both variances, as weighted here, along each component; falling within each part."""
        parts = [
            (self.pose_share, self.pose.explained_variance_ratio_),
            (1 - self.pose_share, self.image.explained_variance_ratio_),
        ]
        # The scales a and b cover the components only; with the variance that these leave out, a part weighs
        # more.
        total = sum(share / ratios.sum() for share, ratios in parts)
        return np.concatenate([share * ratios / ratios.sum() / total for share, ratios in parts])

    def embed(
        self,
        *,
        keypoints: NDArray[np.floating] | None = None,
        crops: Sequence[NDArray[np.uint8]] | None = None,
    ) -> NDArray[np.float32]:
        """See `Embedding.embed`; both are needed. Raises NotThereError as `ImageEmbedding.embed` does."""
        if keypoints is None or crops is None:
            present, absent = ("pictures", "keypoints") if keypoints is None else ("keypoints", "a picture")
            raise HandsimError(
                f"this index embeds poses and pictures together, {present} alone cannot be placed in it; "
                f"ask with {absent} as well, or a hand's id"
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

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, except the encoder's weights: of these the checksums."""
        return {
            "format": FORMAT,
            "version": _FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "pose_share": self.pose_share,
            "fitted_hands": self.image.record.fitted_hands,
            "pose": self.pose.to_json(),
            "image": self.image.to_json(),
        }

    def save(self, path: str | Path) -> None:
        """Write the JSON file and put the weights file beside it; raises NotThereError without that one."""
        path = Path(path)
        self.image.save_weights(path.parent)
        write_text_atomically(path, json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def from_json(
        cls, metadata: dict[str, Any], weights_folders: Sequence[Path], origin: str | Path
    ) -> "BlendEmbedding":
        """The inverse of `to_json`; raises HandsimError, naming ``origin``, for damaged or altered values."""
        check_version(metadata, _FORMAT_VERSION, origin)
        try:
            pose_json, image_json = dict(metadata["pose"]), dict(metadata["image"])
            share = float(metadata["pose_share"])
        except (ValueError, KeyError, TypeError) as error:
            raise not_an_embedding(origin, error) from error
        pose = PoseEmbedding.from_json(pose_json, origin)
        image = ImageEmbedding.from_json(image_json, weights_folders, origin)
        try:
            embedding = cls(pose, image, share)
        except HandsimError as error:
            raise not_an_embedding(origin, error) from error
        check_fingerprint(metadata, embedding.fingerprint, origin)
        return embedding


def _scale(part: str, variances: Iterable[float]) -> float:
    # fsum is exact, so the sum has the same bits on every machine.
    variance = math.fsum(variances)
    if not (math.isfinite(variance) and variance > 0):
        raise HandsimError(
            f"the variance of the {part} in their embedding is {variance:g}; "
            f"to be blended they have to differ"
        )
    return math.sqrt(variance)

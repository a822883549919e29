"""SiMHand's pose embedding: normalised keypoints and a PCA, fitted once over the whole pool.

Source: SiMHand (arXiv 2502.15251), section 3.2: the 42 flattened 2D keypoints, PCA to 14 numbers. The
authors' code fits the PCA again for every batch; fitted once, its vectors can be compared and indexed.

Two steps beyond the paper, each of which an embedding may take. With ``depth`` the keypoints' z counts, too:
two hands whose fingers point to the camera and away from it look alike in 2D. With ``up_to_turn`` every hand
is turned upright first, so that hands are alike whichever way they are held in the picture; what learns from
such pairs has to undo the turn of each hand (`upright_turns_deg`).

Hands with unlabelled joints have no vector, unless the embedding was told to complete them
(`handsim.embedding.completion`): which of the two is part of it, and of what it finds.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from handsim.embedding.base import (
    LEAST_LABELLED,
    Kind,
    PosedHands,
    Rows,
    Unlabelled,
    can_embed,
    check_fingerprint,
    check_version,
    lacks_depth,
    not_an_embedding,
    read_embedding_json,
)
from handsim.embedding.completion import PoseCompletion
from handsim.embedding.pca import PrincipalComponents
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.geometry import turn_points
from handsim.hand import labelled_joints
from handsim.pool import Pool
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES, WRIST

Normalisation = Literal["none", "centre", "centre-scale"]
NORMALISATIONS: Final[tuple[Normalisation, ...]] = get_args(Normalisation)
UNLABELLED: Final[tuple[Unlabelled, ...]] = get_args(Unlabelled)
DEFAULT_COMPONENTS: Final = 14
DEFAULT_NORMALISATION: Final[Normalisation] = "centre-scale"
FORMAT: Final = "handsim-pose-embedding"
_FORMAT_VERSION: Final = 3
"""That of an embedding with depth, or up to a turn; each field is written only where it is set."""
_COMPLETING_VERSION: Final = 2
_FIRST_VERSION: Final = 1
"""That of an embedding which refuses hands with unlabelled joints, as all did before."""
_CHUNK_HANDS: Final = 65_536
_NO_EXTENT: Final = 1e-9
"""Rounding leaves this much of a hand whose joints all coincide."""


def upright_turns_deg(keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] how far hands, of keypoints [N, 21, 2 or 3], are turned in the picture; 0: they are upright.

    That is where the mean joint lies above the wrist. Positive is counter-clockwise as displayed, -180 to
    180. Of the directions tried, wrist to the mean joint, to the fingers' bases and to that of the middle
    finger alone, its pairs are as near in 3D as any (13.9, 14.1, 14.0 mm), and it needs no single joint.
    """
    x, y = np.moveaxis(keypoints[..., :2].mean(axis=1, dtype=np.float64) - keypoints[:, WRIST, :2], -1, 0)
    turns: NDArray[np.float64] = np.degrees(np.arctan2(-x, -y))
    return turns


def turn_upright(keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
    """Keypoints [N, 21, 2 or 3] of upright hands; see `upright_turns_deg`."""
    return turn_points(keypoints, -upright_turns_deg(keypoints))


def normalise(
    keypoints: NDArray[np.floating],
    normalisation: Normalisation,
    *,
    depth: bool = False,
    up_to_turn: bool = False,
) -> NDArray[np.float64]:
    """Flatten keypoints [N, 21, 2 or 3] to [N, 42]: x0, y0, x1, y1, ...; with ``depth`` and z to [N, 63].

    ``none`` keeps the coordinates (SiMHand, section 3.2), ``centre`` subtracts the mean joint, and
    ``centre-scale`` also divides by the root mean square distance to it in the picture (a hand without extent
    becomes zeros). With ``up_to_turn`` hands are turned upright first. Raises HandsimError for another shape,
    NaN or infinity.
    """
    _check_shape(keypoints)
    points = keypoints[..., : 2 + depth].astype(np.float64)
    if not np.isfinite(points).all():
        hand, joint, _ = np.argwhere(~np.isfinite(points))[0]
        raise HandsimError(
            f"keypoints hold NaN or infinity (first in hand {hand}, joint {joint}); leave it out"
        )
    if up_to_turn:
        points = turn_upright(points)
    if normalisation != "none":
        points -= points.mean(axis=1, keepdims=True)
    if normalisation == "centre-scale":
        scale = np.sqrt(np.square(points[..., :2]).sum(axis=2).mean(axis=1))[:, None, None]
        np.divide(points, scale, out=points, where=scale > _NO_EXTENT)
    return points.reshape(len(points), -1)


def _check_shape(keypoints: NDArray[np.floating]) -> None:
    if keypoints.ndim != 3 or keypoints.shape[1] != JOINT_COUNT or keypoints.shape[2] not in (2, 3):
        raise HandsimError(
            f"keypoints have shape {list(keypoints.shape)}; expected [N, {JOINT_COUNT}, 2 or 3]"
        )


@dataclass(frozen=True, eq=False)
class PoseEmbedding:
    """A fitted embedding of poses; the Euclidean distance of two vectors says how different the poses are."""

    normalisation: Normalisation
    """What is taken out of the keypoints before the PCA."""
    mean_: NDArray[np.float64]
    """[F] mean of the normalised poses: 42 numbers, 63 with depth."""
    components_: NDArray[np.float64]
    """[D, F] orthonormal rows, by falling variance; the largest entry of each is positive."""
    explained_variance_: NDArray[np.float64]
    """[D] variance along each component."""
    total_variance_: float
    """Variance of the normalised poses over all F numbers."""
    fitted_hands: int
    unlabelled: Unlabelled = "refuse"
    """What happens to a hand with unlabelled joints: it is refused, or completed by the others."""
    depth: bool = False
    """Whether z counts. Hands of a pool without it have no vector (`handsim.embedding.base.lacks_depth`); a
    query without it gets the z that is to be expected of its x and y."""
    up_to_turn: bool = False
    """Whether hands are turned upright first."""
    kind: Kind = field(default="pose", init=False)

    @classmethod
    def fit(
        cls,
        hands: Pool | NDArray[np.floating],
        components: int = DEFAULT_COMPONENTS,
        normalisation: Normalisation = DEFAULT_NORMALISATION,
        unlabelled: Unlabelled = "refuse",
        *,
        depth: bool = False,
        up_to_turn: bool = False,
    ) -> "PoseEmbedding":
        """Fit on a pool, or on keypoints [N, 21, 2 or 3]: exact, in one pass and bounded memory.

        Hands with unlabelled joints, or of unknown side, or with ``depth`` without it, play no part. Raises
        HandsimError for a component count outside 1..42 (63 with depth), an unknown normalisation, too few
        hands, and for joints that are to be completed in an embedding with depth or up to a turn.
        """
        coordinates, space = JOINT_COUNT * (2 + depth), "2.5D" if depth else "2D"
        if not 1 <= components <= coordinates:
            raise HandsimError(f"components is {components}; 21 joints in {space} have 1 to {coordinates}")
        if normalisation not in NORMALISATIONS:
            raise HandsimError(f"unknown normalisation {normalisation!r}; choose {', '.join(NORMALISATIONS)}")
        if unlabelled not in UNLABELLED:
            raise HandsimError(f"unlabelled is {unlabelled!r}; choose {' or '.join(UNLABELLED)}")
        if unlabelled == "complete" and (depth or up_to_turn):
            raise HandsimError("joints are completed in 2D as hands are held; leave depth and up-to-turn out")
        keypoints = hands.keypoints if isinstance(hands, Pool) else hands
        _check_shape(keypoints)
        is_fitted = hands.is_usable if isinstance(hands, Pool) else can_embed("refuse", keypoints)
        flat = int((is_fitted & lacks_depth(keypoints)).sum()) if depth else 0
        if flat:
            is_fitted = is_fitted & ~lacks_depth(keypoints)
        fitted_hands = int(is_fitted.sum())
        if fitted_hands <= components:
            unknown = int((~hands.has_side).sum()) if isinstance(hands, Pool) else 0
            partly = len(keypoints) - fitted_hands - unknown - flat
            lacks = {"with unlabelled joints": partly, "of unknown side": unknown, "without depth": flat}
            others = ", ".join(f"{count} {lack}" for lack, count in lacks.items() if count)
            beside = f" (beside {others})" if others else ""
            raise HandsimError(
                f"{fitted_hands} hands{beside} are too few to fit {components} components; "
                f"`handsim ingest` more, or ask for fewer components"
            )
        fitted = (chunk[is_fitted[start : start + len(chunk)]] for start, chunk in _chunks(keypoints))
        pca = PrincipalComponents.fit(
            (
                normalise(chunk, normalisation, depth=depth, up_to_turn=up_to_turn)
                for chunk in fitted
                if len(chunk)
            ),
            components,
        )
        return cls(
            normalisation=normalisation,
            mean_=pca.mean,
            components_=pca.components,
            explained_variance_=pca.explained_variance,
            total_variance_=pca.total_variance,
            fitted_hands=fitted_hands,
            unlabelled=unlabelled,
            depth=depth,
            up_to_turn=up_to_turn,
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
        if self.unlabelled == "complete":  # variances decide a vector only where something is completed
            variances = np.append(self.explained_variance_, self.total_variance_)
            digest.update(self.unlabelled.encode() + variances.astype("<f8").tobytes())
        for name in ("depth", "up_to_turn"):
            if getattr(self, name):
                digest.update(name.encode())
        return digest.hexdigest()[:16]

    def complete(self, keypoints: NDArray[np.floating]) -> NDArray[np.floating]:
        """Keypoints [N, 21, 2 or 3] with all joints, as [N, 21, 2]; the same where none is unlabelled.

        Raises HandsimError for a hand that is refused (`handsim.embedding.base.can_embed`).
        """
        _check_shape(keypoints)
        labelled = labelled_joints(keypoints)
        if labelled.all():
            return keypoints
        refused = np.flatnonzero(~can_embed(self.unlabelled, keypoints))
        if len(refused):
            raise _refusal(labelled[refused[0]], int(refused[0]), self.unlabelled)
        points = keypoints[..., :2].astype(np.float64)
        centre, scale = self.normalisation != "none", self.normalisation == "centre-scale"
        return self._completion.complete(points, labelled, centre=centre, scale=scale)

    @cached_property
    def _completion(self) -> PoseCompletion:
        return PoseCompletion(self.mean_, self.components_, self.explained_variance_, self.total_variance_)

    def transform(self, keypoints: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors float32 [N, D] of keypoints [N, 21, 2 or 3]; raises as `complete` and `normalise` do."""
        vectors = np.empty((len(keypoints), self.dimension), dtype=np.float32)
        for start, chunk in _chunks(keypoints):
            centred = self._normalise(self.complete(chunk)) - self.mean_
            vectors[start : start + len(chunk)] = centred @ self.components_.T
        return vectors

    def _normalise(self, keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
        """[N, F]; where the embedding has depth and a hand has none, it is the one expected of x and y."""
        if self.depth and keypoints.shape[-1] == 2:
            keypoints = np.pad(keypoints, ((0, 0), (0, 0), (0, 1)))
        poses = normalise(keypoints, self.normalisation, depth=self.depth, up_to_turn=self.up_to_turn)
        if self.depth and (flat := lacks_depth(keypoints)).any():
            poses[flat] = self._expect_depth(poses[flat])
        return poses

    def _expect_depth(self, poses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normalised poses [N, 63] with the conditional mean of z, given x and y, in place of their z.

        By the Gaussian that the PCA is read as, see `handsim.embedding.completion`. Neither centre nor scale
        nor turn depend on z, so that it is exact here.
        """
        is_z = np.arange(len(self.mean_)) % 3 == 2
        covariance = self._completion.covariance
        given = np.linalg.solve(covariance[np.ix_(~is_z, ~is_z)], covariance[np.ix_(~is_z, is_z)])
        poses[:, is_z] = self.mean_[is_z] + (poses[:, ~is_z] - self.mean_[~is_z]) @ given
        return poses

    def embed(
        self,
        *,
        keypoints: NDArray[np.floating] | None = None,
        crops: Sequence[NDArray[np.uint8]] | None = None,
    ) -> NDArray[np.float32]:
        """`transform` of the keypoints, without which HandsimError is raised; crops are ignored."""
        if keypoints is None:
            raise HandsimError(
                "this index embeds poses, pictures alone cannot be placed in it; "
                "ask with keypoints or a hand's id"
            )
        return self.transform(keypoints)

    def embed_hands(self, hands: PosedHands, rows: Rows) -> NDArray[np.float32]:
        """Vectors float32 [n, D] of the hands at ``rows``."""
        return self.transform(hands.keypoints[rows])

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; `from_json` restores every bit."""
        steps = {name: True for name in ("depth", "up_to_turn") if getattr(self, name)}
        is_first = self.unlabelled == "refuse"
        version = _FIRST_VERSION if is_first else _COMPLETING_VERSION
        return {
            "format": FORMAT,
            "version": _FORMAT_VERSION if steps else version,
            "fingerprint": self.fingerprint,
            "normalisation": self.normalisation,
            **({} if is_first else {"unlabelled": self.unlabelled}),
            **steps,
            "fitted_hands": self.fitted_hands,
            "total_variance": self.total_variance_,
            "explained_variance": self.explained_variance_.tolist(),
            "mean": self.mean_.tolist(),
            "components": self.components_.tolist(),
        }

    def save(self, path: str | Path) -> None:
        """Write the JSON file atomically."""
        metadata = self.to_json()
        # One component a line: readable, and short enough to compare two files by eye.
        rows = ",\n  ".join(json.dumps(row) for row in metadata.pop("components"))
        text = json.dumps(metadata, indent=1)[:-2] + f',\n "components": [\n  {rows}\n ]\n}}\n'
        write_text_atomically(Path(path), text)

    @classmethod
    def load(cls, path: str | Path) -> "PoseEmbedding":
        """Read what `save` wrote; raises NotThereError, or HandsimError for a damaged or altered file."""
        path = Path(path)
        return cls.from_json(read_embedding_json(path), path)

    @classmethod
    def from_json(cls, metadata: dict[str, Any], origin: str | Path) -> "PoseEmbedding":
        """The inverse of `to_json`; raises HandsimError, naming ``origin``, for damaged or altered values."""
        check_version(metadata, _FORMAT_VERSION, origin)
        try:
            embedding = cls(
                normalisation=metadata["normalisation"],
                mean_=np.array(metadata["mean"], dtype=np.float64),
                components_=np.array(metadata["components"], dtype=np.float64),
                explained_variance_=np.array(metadata["explained_variance"], dtype=np.float64),
                total_variance_=float(metadata["total_variance"]),
                fitted_hands=int(metadata["fitted_hands"]),
                unlabelled=metadata.get("unlabelled", "refuse"),
                depth=bool(metadata.get("depth", False)),
                up_to_turn=bool(metadata.get("up_to_turn", False)),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise not_an_embedding(origin, error) from error
        check_fingerprint(metadata, embedding.fingerprint, origin)
        return embedding


def _chunks(keypoints: NDArray[np.floating]) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Some hands at a time, and the row of the first."""
    for start in range(0, len(keypoints), _CHUNK_HANDS):
        yield start, keypoints[start : start + _CHUNK_HANDS]


def _refusal(labelled: NDArray[np.bool_], hand: int, unlabelled: Unlabelled) -> HandsimError:
    """Why a hand with these joints [21] has no vector."""
    if unlabelled == "complete":
        return HandsimError(
            f"hand {hand} has {int(labelled.sum())} labelled joints; it takes {LEAST_LABELLED} of "
            f"{JOINT_COUNT} to complete the others: label more of them"
        )
    joint = int(labelled.argmin())
    return HandsimError(
        f"joint {joint} ({JOINT_NAMES[joint]}) of hand {hand} is not labelled (NaN), which this embedding "
        f"refuses; `handsim embedding fit --unlabelled complete` and `handsim index build` complete them"
    )

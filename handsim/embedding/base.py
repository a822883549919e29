"""What every embedding offers, and reading the JSON file that every embedding is saved as.

An index asks for nothing but an `Embedding`. The JSON of an embedding has a ``format``, a ``version`` of that
format and a ``fingerprint`` of its numbers, which is checked when it is read.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.hand import labelled_joints
from handsim.skeleton import JOINT_COUNT

Kind = Literal["pose", "image", "blend"]
Unlabelled = Literal["refuse", "complete"]
LEAST_LABELLED: Final = 13
"""Joints of which fewer are not completed. With 8 of 21 made up, the vector of a synthetic hand moves as far
as to the nearest hand of another video among 500; with fewer, less."""
Rows = slice | NDArray[np.int64]
"""Some of N hands: a range of rows, or row numbers [n]."""


class PosedHands(Protocol):
    """Rows of hands that can be embedded; a `handsim.pool.Pool` is one."""

    @property
    def hand_ids(self) -> NDArray[np.uint64]:
        """[N], unique."""

    @property
    def keypoints(self) -> NDArray[np.float32]:
        """[N, 21, 3] in the crop's unit square, as right hands; NaN where a joint is unlabelled."""

    @property
    def has_side(self) -> NDArray[np.bool_]:
        """[N] whether the side is known: of the others nobody knows whether they are as right hands."""

    def __len__(self) -> int: ...


class Embedding(Protocol):
    """Maps hands to vectors; a small Euclidean distance between two vectors means similar hands."""

    @property
    def kind(self) -> Kind:
        """Its input: keypoints (``pose``), the crop (``image``), or both (``blend``)."""

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a vector; equal fingerprints give comparable vectors."""

    @property
    def unlabelled(self) -> Unlabelled:
        """What happens to a hand with unlabelled joints: it is refused, or completed by the labelled ones."""

    @property
    def depth(self) -> bool:
        """Whether it looks at the z of keypoints: hands of a pool without it have no vector."""

    @property
    def up_to_turn(self) -> bool:
        """Whether hands are alike whichever way they are turned in the picture; see `upright_turns_deg`."""

    @property
    def explained_variance_ratio_(self) -> NDArray[np.float64]:
        """[D] share of the variance of the fitted data along each component, falling (in a blend: falling
        within each part)."""

    def embed(
        self,
        *,
        keypoints: NDArray[np.floating] | None = None,
        crops: Sequence[NDArray[np.uint8]] | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [Q, D] of Q hands that need not be in a pool: a query.

        ``keypoints`` [Q, 21, 2 or 3] in the crop's unit square, ``crops`` Q RGB pictures [S, S, 3] of any
        size, both as right hands. What a kind does not use is ignored. Raises HandsimError where what it
        uses is missing or malformed.
        """

    def embed_hands(self, hands: PosedHands, rows: Rows) -> NDArray[np.float32]:
        """Vectors [n, D] of the hands at ``rows``; raises HandsimError where these lack its input."""

    def to_json(self) -> dict[str, Any]:
        """What `save` writes, as JSON values; `embedding_from_json` reads it."""

    def save(self, path: str | Path) -> None:
        """Write the JSON file atomically, and the files that it needs beside it."""


def can_embed(unlabelled: Unlabelled, keypoints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """[N] which hands, of keypoints [N, 21, 2 or 3], an embedding of that choice takes."""
    least = LEAST_LABELLED if unlabelled == "complete" else JOINT_COUNT
    return np.asarray(labelled_joints(keypoints).sum(axis=1) >= least)


def lacks_depth(keypoints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """[N] whose keypoints [N, 21, 2 or 3] have no z, or 0 at all joints: their source does not measure it."""
    if keypoints.shape[-1] == 2:
        return np.ones(len(keypoints), dtype=np.bool_)
    return np.asarray((np.nan_to_num(keypoints[..., 2]) == 0).all(axis=1))


def can_embed_hands(embedding: Embedding, hands: PosedHands) -> NDArray[np.bool_]:
    """[N] which hands of a pool it takes: of known side, with joints enough, and depth where that counts."""
    is_taken = can_embed(embedding.unlabelled, hands.keypoints) & hands.has_side
    return is_taken & ~lacks_depth(hands.keypoints) if embedding.depth else is_taken


def read_embedding_json(path: Path) -> dict[str, Any]:
    """The JSON object at ``path``; raises NotThereError, or HandsimError when it cannot be read."""
    if not path.exists():
        raise NotThereError(f"there is no embedding at {path}; `handsim embedding fit` makes one")
    try:
        metadata = json.loads(path.read_bytes())
    except OSError as error:
        raise HandsimError(f"the embedding {path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise not_an_embedding(path, error) from error
    if not isinstance(metadata, dict):
        raise not_an_embedding(path, f"a JSON {type(metadata).__name__}, not an object")
    return metadata


def not_an_embedding(origin: str | Path, reason: object) -> HandsimError:
    """The error for content of ``origin`` that is damaged or something else altogether."""
    return HandsimError(f"{origin} is not an embedding, or is damaged ({reason}); fit it again")


def check_version(metadata: dict[str, Any], newest: int, origin: str | Path) -> None:
    """Raise HandsimError unless the JSON has a format version, and one no newer than ``newest``."""
    version = metadata.get("version")
    if not isinstance(version, int):
        raise not_an_embedding(origin, "its format version is missing")
    if version > newest:
        raise HandsimError(f"{origin} has format {version}, this handsim reads up to {newest}; upgrade it")


def check_fingerprint(metadata: dict[str, Any], fingerprint: str, origin: str | Path) -> None:
    """Raise HandsimError unless ``fingerprint``, computed from what was read, is the one in the JSON."""
    if metadata.get("fingerprint") != fingerprint:
        raise HandsimError(
            f"{origin} was altered: its numbers do not have its fingerprint {metadata.get('fingerprint')}; "
            f"fit it again"
        )

"""What every embedding offers, whatever it looks at: an index asks for nothing else.

The JSON that every embedding is written as: reading it, and refusing what is none.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError

Kind = Literal["pose", "image", "blend"]
Rows = slice | NDArray[np.int64]
"""Some of N hands: a range of rows, or their numbers [n]."""


class PosedHands(Protocol):
    """Rows of hands that can be embedded; a `handsim.pool.Pool` is one."""

    @property
    def hand_ids(self) -> NDArray[np.uint64]:
        """[N], unique."""

    @property
    def keypoints(self) -> NDArray[np.float32]:
        """[N, 21, 3] in the crop's unit square, told as right hands."""

    def __len__(self) -> int: ...


class Embedding(Protocol):
    """Places hands in a Euclidean space where near means alike."""

    @property
    def kind(self) -> Kind:
        """What it looks at: ``pose`` the keypoints, ``image`` the crop, ``blend`` both."""

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a vector; equal fingerprints give comparable vectors."""

    @property
    def explained_variance_ratio_(self) -> NDArray[np.float64]:
        """[D] share of the variance of what it was fitted on along each component, falling; in a blend,
        within each part."""

    def embed(
        self,
        *,
        keypoints: NDArray[np.floating] | None = None,
        crops: Sequence[NDArray[np.uint8]] | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [Q, D] of hands as they are seen, told as right hands: a question.

        ``keypoints`` [Q, 21, 2 or 3] in the crop's unit square, ``crops`` Q RGB pictures [S, S, 3]. Each kind
        takes what it needs; raises HandsimError where that is not given, or is not as it should be.
        """

    def embed_hands(self, hands: PosedHands, rows: Rows) -> NDArray[np.float32]:
        """Vectors [n, D] of the hands at ``rows``; raises HandsimError where they lack what it looks at."""

    def facts(self) -> dict[str, Any]:
        """What `save` writes to the JSON, as JSON values: `embedding_from_facts` takes it back."""

    def save(self, path: str | Path) -> None:
        """Write it as JSON that people can read, atomically, with whatever files it needs beside it."""


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON object at ``path``; raises NotThereError, or HandsimError when it is none."""
    if not path.exists():
        raise NotThereError(f"there is no embedding at {path}; `handsim embedding fit` makes one")
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise not_an_embedding(path, error) from error
    if not isinstance(facts, dict):
        raise not_an_embedding(path, f"a JSON {type(facts).__name__}, not an object")
    return facts


def not_an_embedding(origin: str | Path, why: object) -> HandsimError:
    """The error for facts from ``origin`` that are damaged or something else altogether."""
    return HandsimError(f"{origin} is not an embedding, or is damaged ({why}); fit it again")


def check_version(facts: dict[str, Any], newest: int, origin: str | Path) -> None:
    """Raise HandsimError unless the facts have a format version, and one no newer than ``newest``."""
    version = facts.get("version")
    if not isinstance(version, int):
        raise not_an_embedding(origin, "its format version is missing")
    if version > newest:
        raise HandsimError(f"{origin} has format {version}, this handsim reads up to {newest}; upgrade it")


def check_fingerprint(facts: dict[str, Any], fingerprint: str, origin: str | Path) -> None:
    """Raise HandsimError unless ``fingerprint``, of the numbers as read, is the one written there."""
    if facts.get("fingerprint") != fingerprint:
        raise HandsimError(
            f"{origin} was altered: its numbers do not have its fingerprint {facts.get('fingerprint')}; "
            f"fit it again"
        )

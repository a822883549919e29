"""What is written down of one version: the metadata of its collection.

The embedding is kept as a text, the JSON that `Embedding.save` writes: a server that keeps it as numbers
may give back the last digit changed, and with it another fingerprint.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from handsim.embedding import Embedding
from handsim.errors import HandsimError
from index.info import VersionInfo
from index.settings import IndexSettings
from index.verification import Verification

FORMAT_VERSION: Final = 1
_FORMAT: Final = "handsim-index-version"

State = Literal["building", "complete", "growing", "removing"]


@dataclass(frozen=True)
class VersionRecord:
    """One version."""

    state: State
    """``growing``: hands are being added in place. ``building`` and ``removing``: no reader gets it."""
    embedding: str
    """JSON."""
    embedding_kind: str
    embedding_fingerprint: str
    dimension: int
    settings: IndexSettings
    """How it was built, and is searched."""
    points: int
    """How many hands it holds, or is to hold."""
    checksum: str = ""
    built_at: str = ""
    build_seconds: float = 0.0
    published_at: int | None = None
    """Rises with every publication; None before the first."""
    recall_at_1: float | None = None
    """At the last verification."""

    @classmethod
    def draft(cls, embedding: Embedding, settings: IndexSettings, points: int) -> "VersionRecord":
        """A version about to be built."""
        return cls(
            state="building",
            embedding=json.dumps(embedding.facts()),
            embedding_kind=embedding.kind,
            embedding_fingerprint=embedding.fingerprint,
            dimension=embedding.dimension,
            settings=settings,
            points=points,
        )

    @classmethod
    def parse(cls, facts: dict[str, Any] | None, shown: str) -> "VersionRecord":
        """What `metadata` told; raises HandsimError when it is damaged or newer than this program."""
        if facts is None or facts.get("format") != _FORMAT:
            raise damaged(shown, "its metadata are not handsim's")
        version = facts.get("version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise HandsimError(
                f"{shown} has format {version}, this handsim reads up to {FORMAT_VERSION}; upgrade handsim"
            )
        names = [field.name for field in fields(cls)]
        known = {name: facts[name] for name in names if facts.get(name) is not None}
        try:
            return cls(**{**known, "settings": IndexSettings(**facts["settings"])})
        except (KeyError, TypeError, HandsimError) as error:
            raise damaged(shown, f"its metadata lack a field: {error}") from error

    @property
    def metadata(self) -> dict[str, Any]:
        """It as JSON values, for the collection; what is None is not mentioned."""
        facts = {"format": _FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        return {key: value for key, value in facts.items() if value is not None}

    @property
    def is_readable(self) -> bool:
        """Whether readers may have it."""
        return self.state in ("complete", "growing")

    def info(self, name: str, *, is_current: bool) -> VersionInfo:
        """What people see of it."""
        return VersionInfo(
            name=name,
            points=self.points,
            dimension=self.dimension,
            embedding_kind=self.embedding_kind,
            embedding_fingerprint=self.embedding_fingerprint,
            built_at=self.built_at,
            build_seconds=self.build_seconds,
            settings=self.settings,
            checksum=self.checksum,
            bytes_on_disk=None,
            recall_at_1=self.recall_at_1,
            is_current=is_current,
        )


def verification_metadata(verification: Verification) -> dict[str, Any]:
    """What a verification found, for the collection."""
    return {"recall_at_1": verification.recall_at_1, "verification": json.dumps(asdict(verification))}


def damaged(shown: str, why: str) -> HandsimError:
    """The error for a version that cannot be read."""
    return HandsimError(f"{shown} is damaged ({why}); remove that collection and `handsim index build` again")

"""What is known of an index version without opening it."""

from dataclasses import dataclass

from index.settings import IndexSettings


@dataclass(frozen=True)
class VersionInfo:
    """The facts of one version."""

    name: str
    """``v0001``, ``v0002``, ... in the order they were built."""
    points: int
    """How many hands it holds."""
    dimension: int
    """Length of a vector."""
    embedding_kind: str
    """``pose``: made from keypoints; ``image``: made from crops; ``blend``: from both."""
    embedding_fingerprint: str
    """16 hex digits; two versions with the same one have comparable distances."""
    built_at: str
    """ISO 8601, UTC."""
    build_seconds: float
    """How long building it took."""
    settings: IndexSettings
    """How it was built and is searched."""
    checksum: str
    """Hash over ids and vectors, see `index.points.Checksum`; equal ones hold the same hands."""
    bytes_on_disk: int | None
    """What it takes up; None on a server, which does not tell."""
    recall_at_1: float | None
    """At the last verification; None when there was none."""
    is_current: bool
    """Whether readers that ask for no version get this one."""

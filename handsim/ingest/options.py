"""What a user can say about an ingest."""

from dataclasses import dataclass
from pathlib import Path

from handsim.errors import HandsimError
from handsim.ingest.naming import NameRule


@dataclass(frozen=True)
class IngestOptions:
    """How files become hands. Raises HandsimError for a rate that is not positive."""

    source: str | None = None
    """Name of the collection; None: ``local``, or for Hand100M what its file's name says."""
    video_from: NameRule | None = None
    """Which recording or person a file belongs to; None: the folder of a picture, the stem of a video."""
    label_from: NameRule | None = None
    """The class of a file, only used to evaluate; None: no labels."""
    samples_per_s: float = 1.0
    """Frames taken from a second of video."""
    images: Path | None = None
    """The folder that the file names in Hand100M annotations are relative to; None: where the JSON lies."""

    leave_out: Path | None = None
    """A folder that is not looked into when it lies below the paths: handsim's own home."""

    def __post_init__(self) -> None:
        if not 0 < self.samples_per_s <= 1000:
            raise HandsimError(f"--fps is {self.samples_per_s:g}; it must be above 0 and at most 1000")
        if self.images is not None and not self.images.is_dir():
            raise HandsimError(f"--images {self.images} is not a folder")

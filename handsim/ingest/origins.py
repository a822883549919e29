"""Where a hand comes from: collection, recording, frame and class of a file, and the options for them."""

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.annotations import AnnotationOptions
from handsim.errors import HandsimError, UnusableError

DEFAULT_SOURCE: Final = "local"


@dataclass(frozen=True)
class NameRule:
    """``parent`` (the folder's name), ``stem`` (the file's name without suffix), or a regular expression.

    A regular expression is searched in the path below the folder that was named, that folder included
    (``signs/p118/7.jpg``), and gives its first group, or the whole match when it has no group.
    Raises HandsimError for an expression that does not compile.
    """

    rule: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.rule)
        except re.error as error:
            raise HandsimError(
                f"{self.rule!r} is neither 'parent' nor 'stem' nor a regular expression ({error})"
            ) from error

    def name(self, file: PurePosixPath) -> str | None:
        """The name for a file, or None where the expression does not match."""
        if self.rule == "parent":
            return file.parent.name
        if self.rule == "stem":
            return file.stem
        match = re.search(self.rule, str(file))
        return match and (match.group(1) if match.re.groups else match.group())


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
    images: Path | None = None
    """The folder that the file names in annotations are relative to; None: where the annotations lie."""
    annotations: AnnotationOptions = field(default_factory=AnnotationOptions)
    detector: str = ""
    """A text that differs for detectors that may find other hands (see `describe_detector`): what another one
    looked at is looked at again."""
    exclude: Path | None = None
    """A folder that is not looked into when it lies below the paths: handsim's own home."""

    def __post_init__(self) -> None:
        if not 0 < self.samples_per_s <= 1000:
            raise HandsimError(f"--fps is {self.samples_per_s:g}; it must be above 0 and at most 1000")
        if self.images is not None and not self.images.is_dir():
            raise HandsimError(f"--images {self.images} is not a folder")


@dataclass(frozen=True)
class Origin:
    """Where the hands of one file come from; each hand takes these fields over."""

    file: str
    """Path below the folder that was ingested, that folder included; for people."""
    source: str
    video: str
    label: str | None
    frame: int
    """The number in the file's name; frames of a video have their own."""


def find_origin(file: PurePosixPath, options: IngestOptions, default_video: NameRule) -> Origin:
    rule = options.video_from or default_video
    video = rule.name(file)
    if video is None:
        raise UnusableError("no video name", f"--video-from {rule.rule!r} does not match it")
    label = options.label_from.name(file) if options.label_from else None
    # The last number in the name: frame_000123.jpg is frame 123.
    numbers = re.findall(r"\d+", file.stem)
    frame = int(numbers[-1][-18:]) if numbers else 0
    return Origin(str(file), options.source or DEFAULT_SOURCE, video, label, frame)

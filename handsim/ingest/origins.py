"""Where a hand comes from: collection, recording, frame and class of a file, and the options for them."""

import mimetypes
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.annotations import AnnotationOptions
from handsim.errors import HandsimError, UnusableError
from handsim.hand import Hand
from handsim.ingest.globs import Glob
from handsim.ingest.shard import Shard

DEFAULT_SOURCE: Final = "local"


@dataclass(frozen=True)
class NameRule:
    """``path``, ``parent`` (the folder's name), ``stem`` (the file's), or a regular expression.

    ``path`` is the path below the folder that was named: of a picture its folder (``take1/rgb``), of a video
    the file without suffix (``cam0/clip``). A regular expression is searched in the path below the folder
    that was named, that folder included (``signs/p118/7.jpg``), and gives its first group, or the whole match
    when it has no group. Raises HandsimError for an expression that does not compile.
    """

    rule: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.rule)
        except re.error as error:
            raise HandsimError(
                f"{self.rule!r} is neither 'path' nor 'parent' nor 'stem' nor a regular expression ({error})"
            ) from error

    def name(self, place: "Place") -> str | None:
        """The name for a file, or None where the expression does not match."""
        if self.rule == "path":
            return place.recording
        if self.rule == "parent":
            return place.file.parent.name
        if self.rule == "stem":
            return place.file.stem
        match = re.search(self.rule, str(place.file))
        return match and (match.group(1) if match.re.groups else match.group())


@dataclass(frozen=True)
class IngestOptions:
    """How files become hands. Raises HandsimError for a rate that is not positive."""

    source: str | None = None
    """Name of the collection; None: ``local``, or for Hand100M what its file's name says."""
    video_from: NameRule | None = None
    """Which recording or person a file belongs to; None: ``path``, and what the pool knows keeps its name."""
    label_from: NameRule | None = None
    """The class of a file, only used to evaluate; None: no labels."""
    samples_per_s: float = 1.0
    min_motion: float | None = None
    """Hands of a video that have moved less since the last one that was kept are left out: mean way of a
    joint, in hand sizes. None: all are kept."""
    images: Path | None = None
    """The folder that the file names in annotations are relative to; None: where the annotations lie."""
    annotations: AnnotationOptions = field(default_factory=AnnotationOptions)
    detector: str = ""
    """A text that differs for detectors that may find other hands (see `describe_detector`): what another one
    looked at is looked at again."""
    home: Path | None = None
    """The home to write to, where it lies among the files: it is not looked into."""
    include: tuple[Glob, ...] = ()
    """Only files that one of these matches are used; empty: all."""
    exclude: tuple[Glob, ...] = ()
    """Files and folders that one of these matches are left out."""
    retry_failed: bool = False
    """Look again at all that gave no hand or could not be read whole, whatever was the cause."""
    keep_copies: bool = False
    """Take the hands of a recording also from its copies."""
    shard: Shard | None = None
    """Only the files of this share; other machines do the others."""

    def __post_init__(self) -> None:
        if not 0 < self.samples_per_s <= 1000:
            raise HandsimError(f"--fps is {self.samples_per_s:g}; it must be above 0 and at most 1000")
        if self.min_motion is not None and not 0 < self.min_motion <= 1:
            raise HandsimError(
                f"--min-motion is {self.min_motion:g}; it is a share of the hand's box, above 0 and at most 1"
            )
        if self.images is not None and not self.images.is_dir():
            raise HandsimError(f"--images {self.images} is not a folder")


@dataclass(frozen=True)
class Place:
    """Where a file lies, in text: see `readable`."""

    root: str
    """The name of the folder that was given."""
    below: PurePosixPath
    """The path below it."""
    is_recording: bool = False
    """Whether the file is a recording by itself: a video, not a picture."""
    is_root_shared: bool = False
    """Whether another folder that was given has the same name; then ``root`` has as many more folders before
    it as tell them apart."""

    @classmethod
    def of_file(cls, file: str) -> "Place":
        """The place of a hand's `file`, which says by its suffix alone whether it is a video."""
        root, *below = PurePosixPath(file).parts or ("",)
        kind, _ = mimetypes.guess_type(file)
        is_video = kind is not None and kind.startswith("video/")
        return cls(root, PurePosixPath(*below), is_video) if below else cls("", PurePosixPath(root), is_video)

    @cached_property
    def file(self) -> PurePosixPath:
        """The path below the folder that was given, that folder included; for people."""
        return PurePosixPath(self.root) / self.below

    @property
    def recording(self) -> str:
        """The recording's path below the folder that was given, or that folder's name where it is one."""
        path = self.below.with_suffix("") if self.is_recording else self.below.parent
        if self.is_root_shared:
            path = self.root / path
        return str(path) if path.parts else self.root


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
    identity: str
    """The video name in ids: by the rule that was asked for, else what the default was before it was a path
    (a picture's folder, a video's stem). So files may move into other folders, and old ids stay."""


def find_origin(place: Place, options: IngestOptions) -> Origin:
    """Raises UnusableError for a file whose path has no video name."""
    file = place.file
    video = (options.video_from or NameRule("path")).name(place)
    if video is None:
        rule = options.video_from and options.video_from.rule
        raise UnusableError("no video name", f"--video-from {rule!r} does not match it")
    identity = video
    if options.video_from is None:
        identity = file.stem if place.is_recording else file.parent.name
    label = options.label_from.name(place) if options.label_from else None
    # The last number in the name: frame_000123.jpg is frame 123. That of a byte (see `readable`) is none.
    numbers = re.findall(r"\d+", re.sub(r"\\x[0-9a-f]{2}", "", file.stem))
    frame = int(numbers[-1][-18:]) if numbers else 0
    return Origin(str(file), options.source or DEFAULT_SOURCE, video, label, frame, identity)


def find_own_origin(hand: Hand, options: IngestOptions) -> Origin:
    """Of a hand that came out of a pool; rules for names are applied to the file that it was found in.

    Raises as `find_origin`.
    """
    asked = find_origin(Place("", PurePosixPath(hand.file)), options)
    return Origin(
        file=hand.file,
        source=options.source or hand.source,
        video=asked.video if options.video_from else hand.video,
        label=asked.label if options.label_from else hand.label,
        frame=hand.frame,
        identity=hand.video,
    )


def readable(name: str) -> str:
    r"""A name as text that can be stored: bytes that are not UTF-8 are written ``\xe9``."""
    try:
        encoded = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which JSON can hold
        encoded = name.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")

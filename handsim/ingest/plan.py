"""From the paths a user names to items of work, in a fixed order.

The pieces of work an ingest is cut into, small enough to share out and to lose.

How a hand's video and label are read off the path of its file.

What a user can say about an ingest.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.errors import HandsimError, NotThereError, UnusableError
from handsim.hand import MAX_HAND_ID, Hand
from handsim.hashing import hash64
from handsim.ingest.hand100m import Annotation, BadAnnotation, count_annotations, read_annotations
from handsim.pool import Skip
from handsim.videos import VIDEO_SUFFIXES, probe_video


@dataclass(frozen=True)
class Naming:
    """What the hands of one file are called."""

    file: str
    """Path below the folder that was ingested, that folder included; for people."""
    source: str
    video: str
    label: str | None
    frame: int
    """The number in the file's name; frames of a video have their own."""


@dataclass(frozen=True)
class PictureItem:
    """One picture file."""

    key: int
    """Equal for the same work in a later run; see `item_key`."""
    path: Path
    naming: Naming

    @property
    def pictures(self) -> int:
        """How many pictures it holds."""
        return 1


@dataclass(frozen=True)
class VideoItem:
    """A stretch of one video file."""

    key: int
    path: Path
    naming: Naming
    samples_per_s: float
    start: int
    """First sample."""
    stop: int | None
    """Sample after the last; None: to the end of the file."""
    pictures: int
    """How many samples the header lets one expect."""


@dataclass(frozen=True, eq=False)
class AnnotationItem:
    """A batch of Hand100M annotations, each with the path of its picture."""

    key: int
    annotations: tuple[tuple[Annotation | BadAnnotation, Path, Naming], ...]

    @property
    def pictures(self) -> int:
        """How many hands it names."""
        return len(self.annotations)


Item = PictureItem | VideoItem | AnnotationItem


@dataclass(eq=False)
class ItemResult:
    """What came of one item."""

    key: int
    pictures: int = 0
    """Pictures or frames looked at."""
    hands: list[tuple[Hand, bytes]] = field(default_factory=list)
    """Hands and their crops as JPEG."""
    skipped: list[Skip] = field(default_factory=list)
    """What could not be used."""
    rungs: dict[str, int] = field(default_factory=dict)
    """How many hands each try of the detector's ladder found."""


def item_key(path: Path, *details: str | float | None) -> int:
    """63-bit key of the work on a file: its place, size and time, and every detail that decides the outcome.

    A file that was replaced has another key and is looked at again. Raises OSError for a file that is gone.
    """
    status = path.stat()
    identity = json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns, *details])
    return hash64(identity.encode()) & MAX_HAND_ID


@dataclass(frozen=True)
class NameRule:
    """``parent`` (the folder's name), ``stem`` (the file's name without suffix), or a regular expression.

    A regular expression is searched in the path below the folder that was named, that folder included
    (``signs/p118/7.jpg``), and gives its first group, or the whole match when it has no group.
    Raises HandsimError for an expression that does not compile.
    """

    rule: str
    """``parent``, ``stem``, or the expression."""

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


def frame_number(file: PurePosixPath) -> int:
    """The last number in a file's name (``frame_000123.jpg`` is 123), 0 where there is none."""
    numbers = re.findall(r"\d+", file.stem)
    return int(numbers[-1][-18:]) if numbers else 0


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


DEFAULT_SOURCE: Final = "local"
STRETCH_SAMPLES: Final = 64
"""A video is shared out in stretches of this many samples; a killed run repeats at most a few of them."""
ANNOTATION_BATCH: Final = 16
_PROBING_THREADS: Final = 8
_HAND100M_SOURCES: Final = {"ego4d": "ego4d", "100doh": "100doh"}


@dataclass(frozen=True)
class AnnotationFile:
    """One Hand100M JSON."""

    path: Path
    file: str
    """Its name for people."""
    source: str
    """The collection its hands belong to."""


@dataclass
class Plan:
    """The work of one ingest."""

    files: list[Item] = field(default_factory=list)
    """Pictures and stretches of video, in the order of their paths."""
    annotation_files: list[AnnotationFile] = field(default_factory=list)
    """Hand100M files; streamed when their turn comes, they can be larger than memory."""
    pictures: int = 0
    """All pictures, expected frames and annotations."""
    unusable: list[Skip] = field(default_factory=list)
    """Files found useless while planning."""


def plan_ingest(paths: Sequence[Path], options: IngestOptions) -> Plan:
    """Walk the paths and look into the headers of videos.

    Raises NotThereError at once for a path that does not exist.
    """
    for path in paths:
        if not path.exists():
            raise NotThereError(
                f"{path} does not exist; give a folder, picture, video or Hand100M JSON that does"
            )
    plan = Plan()
    videos: list[tuple[Path, PurePosixPath]] = []
    for path, file in _walk(paths, options.leave_out):
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                videos.append((path, file))
            elif path.suffix.lower() == ".json":
                plan.pictures += count_annotations(path)
                plan.annotation_files.append(AnnotationFile(path, str(file), _hand100m_source(path, options)))
            else:
                naming = _naming(file, options, NameRule("parent"))
                key = item_key(path, "picture", naming.source, naming.video, naming.label)
                plan.files.append(PictureItem(key, path, naming))
        except (UnusableError, OSError) as error:
            plan.unusable.append(_skip(file, error))
    with ThreadPoolExecutor(_PROBING_THREADS) as threads:
        for stretches in threads.map(lambda video: _stretches(video[0], video[1], options), videos):
            if isinstance(stretches, Skip):
                plan.unusable.append(stretches)
            else:
                plan.files.extend(stretches)
    plan.pictures += sum(item.pictures for item in plan.files)
    return plan


def annotation_items(json_file: AnnotationFile, options: IngestOptions) -> Iterator[AnnotationItem]:
    """The batches of one Hand100M file; raises UnusableError where the file breaks off."""
    images = options.images or json_file.path.parent
    named = replace(options, source=json_file.source)
    annotations = read_annotations(json_file.path)
    for number in count():
        batch = [(found, PurePosixPath(found.file_name)) for found in islice(annotations, ANNOTATION_BATCH)]
        if not batch:
            return
        rows = tuple(
            (found, images / file, _naming(file, named, NameRule("parent"))) for found, file in batch
        )
        yield AnnotationItem(item_key(json_file.path, "hand100m", json_file.source, number), rows)


def _walk(paths: Sequence[Path], leave_out: Path | None) -> Iterator[tuple[Path, PurePosixPath]]:
    """Every file below the paths, with its name for people: the path below the folder, that included."""
    own = leave_out.resolve() if leave_out else None
    for root in paths:
        resolved = root.resolve()
        if not root.is_dir():
            yield root, PurePosixPath(resolved.parent.name, resolved.name)
            continue
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and Path(folder, name).resolve() != own
            )
            for name in sorted(name for name in names if not name.startswith(".")):
                path = Path(folder, name)
                yield path, PurePosixPath(resolved.name, path.relative_to(root).as_posix())


def _naming(file: PurePosixPath, options: IngestOptions, default_video: NameRule) -> Naming:
    rule = options.video_from or default_video
    video = rule.name(file)
    if video is None:
        raise UnusableError("no video name", f"--video-from {rule.rule!r} does not match it")
    label = options.label_from.name(file) if options.label_from else None
    return Naming(str(file), options.source or DEFAULT_SOURCE, video, label, frame_number(file))


def _stretches(path: Path, file: PurePosixPath, options: IngestOptions) -> list[VideoItem] | Skip:
    try:
        naming = _naming(file, options, NameRule("stem"))
        facts = probe_video(path)
        rate = options.samples_per_s
        samples = max(1, math.ceil(facts.duration_s * rate)) if facts.duration_s else None
        starts = range(0, samples or 1, STRETCH_SAMPLES)
        # The last stretch is open: headers round, and some say nothing at all.
        stops = [*starts[1:], None]
        return [
            VideoItem(
                key=item_key(path, "video", naming.source, naming.video, naming.label, rate, start),
                path=path,
                naming=naming,
                samples_per_s=rate,
                start=start,
                stop=stop,
                pictures=(stop or samples or start + 1) - start,
            )
            for start, stop in zip(starts, stops, strict=True)
        ]
    except (UnusableError, OSError) as error:
        return _skip(file, error)


def _hand100m_source(path: Path, options: IngestOptions) -> str:
    named = (source for word, source in _HAND100M_SOURCES.items() if word in path.stem.lower())
    return options.source or next(named, DEFAULT_SOURCE)


def _skip(file: PurePosixPath, error: UnusableError | OSError) -> Skip:
    if isinstance(error, UnusableError):
        return Skip(str(file), error.reason, error.detail)
    return Skip(str(file), "unreadable", error.strerror or str(error))

"""From the paths a user names to items of work, in a fixed order, and what a user can set.

An item is small enough to share out and to lose: a picture, a stretch of a video, a batch of annotations. Its
`ItemKeys` are hashes of everything that decides what comes of it, so that a later run knows what is done.
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
from typing import Any, Final, NamedTuple

from handsim.errors import HandsimError, NotThereError, UnusableError
from handsim.hand import MAX_HAND_ID
from handsim.hashing import hash64
from handsim.ingest.hand100m import Annotation, BadAnnotation, count_annotations, read_annotations
from handsim.pool.writer import FAILED, UNREADABLE, Skip
from handsim.videos import VIDEO_SUFFIXES, probe_video

_DEFAULT_SOURCE: Final = "local"
_STRETCH_SAMPLES: Final = 64
"""A video is shared out in stretches of this many samples; a killed run repeats at most a few of them."""
_ANNOTATION_BATCH: Final = 16
_PROBING_THREADS: Final = 8
_HAND100M_SOURCES: Final = ("ego4d", "100doh")


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
    """The folder that the file names in Hand100M annotations are relative to; None: where the JSON lies."""
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


class ItemKeys(NamedTuple):
    """Under what an item is recorded as done; each is 63 bits."""

    key: int
    """Equal for the same work in a later run."""
    key_v1: int
    """Under what earlier versions recorded it: without the detector and the details of annotations."""


@dataclass(frozen=True)
class PictureItem:
    """One picture file."""

    keys: ItemKeys
    path: Path
    origin: Origin
    pictures: int = 1


@dataclass(frozen=True)
class VideoItem:
    """A stretch of one video file."""

    keys: ItemKeys
    path: Path
    origin: Origin
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

    keys: ItemKeys
    annotations: tuple[tuple[Annotation | BadAnnotation, Path, Origin], ...]

    @property
    def pictures(self) -> int:
        """How many hands it names."""
        return len(self.annotations)


Item = PictureItem | VideoItem | AnnotationItem


def _item_keys(path: Path, details: Sequence[Any], more_details: Sequence[Any]) -> ItemKeys:
    """Keys of the work on a file: its place, size and time, and every detail that decides the outcome.

    A file that was replaced has other keys and is looked at again. Earlier versions left out
    ``more_details``. Raises OSError for a file that is gone.
    """
    status = path.stat()
    identity = [str(path.resolve()), status.st_size, status.st_mtime_ns, *details]
    key, key_v1 = (
        hash64(json.dumps(values).encode()) & MAX_HAND_ID for values in ([*identity, *more_details], identity)
    )
    return ItemKeys(key, key_v1)


@dataclass
class Plan:
    """The work of one ingest."""

    files: list[Item] = field(default_factory=list)
    """Pictures and stretches of video, in the order of their paths."""
    annotation_files: list[tuple[Path, str]] = field(default_factory=list)
    """Hand100M files, each with its name for people; read as a stream, they can be larger than memory."""
    pictures: int = 0
    """All pictures, expected frames and annotations."""
    unusable: list[Skip] = field(default_factory=list)


def plan_ingest(paths: Sequence[Path], options: IngestOptions) -> Plan:
    """Walk the paths and look into the headers of videos; raises NotThereError for an absent path."""
    for path in paths:
        if not path.exists():
            raise NotThereError(
                f"{path} does not exist; give a folder, picture, video or Hand100M JSON that does"
            )
    plan = Plan()
    videos: list[tuple[Path, PurePosixPath]] = []
    for path, file in _walk(paths, options.exclude):
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                videos.append((path, file))
            elif path.suffix.lower() == ".json":
                plan.pictures += count_annotations(path)
                plan.annotation_files.append((path, str(file)))
            else:
                origin = _origin(file, options, NameRule("parent"))
                details = ["picture", origin.source, origin.video, origin.label]
                plan.files.append(PictureItem(_item_keys(path, details, [options.detector]), path, origin))
        except (UnusableError, OSError) as error:
            plan.unusable.append(describe_failure(str(file), error))
    with ThreadPoolExecutor(_PROBING_THREADS) as threads:
        for stretches in threads.map(lambda video: _stretches(video[0], video[1], options), videos):
            if isinstance(stretches, Skip):
                plan.unusable.append(stretches)
            else:
                plan.files.extend(stretches)
    plan.pictures += sum(item.pictures for item in plan.files)
    return plan


def _walk(paths: Sequence[Path], exclude: Path | None) -> Iterator[tuple[Path, PurePosixPath]]:
    """Every file below the paths, with its name for people: the path below the folder, that included."""
    excluded = exclude.resolve() if exclude else None
    for root in paths:
        resolved = root.resolve()
        if not root.is_dir():
            yield root, PurePosixPath(resolved.parent.name, resolved.name)
            continue
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".") and Path(folder, name).resolve() != excluded
            )
            for name in sorted(name for name in names if not name.startswith(".")):
                path = Path(folder, name)
                yield path, PurePosixPath(resolved.name, path.relative_to(root).as_posix())


def _origin(file: PurePosixPath, options: IngestOptions, default_video: NameRule) -> Origin:
    rule = options.video_from or default_video
    video = rule.name(file)
    if video is None:
        raise UnusableError("no video name", f"--video-from {rule.rule!r} does not match it")
    label = options.label_from.name(file) if options.label_from else None
    # The last number in the name: frame_000123.jpg is frame 123.
    numbers = re.findall(r"\d+", file.stem)
    frame = int(numbers[-1][-18:]) if numbers else 0
    return Origin(str(file), options.source or _DEFAULT_SOURCE, video, label, frame)


def _stretches(path: Path, file: PurePosixPath, options: IngestOptions) -> list[VideoItem] | Skip:
    try:
        origin = _origin(file, options, NameRule("stem"))
        duration_s, rate = probe_video(path).duration_s, options.samples_per_s
        samples = max(1, math.ceil(duration_s * rate)) if duration_s else None
        starts = range(0, samples or 1, _STRETCH_SAMPLES)
        # The last stretch is open: headers round, and some give no duration at all.
        stops = [*starts[1:], None]
        details = ["video", origin.source, origin.video, origin.label, rate]
        return [
            VideoItem(
                keys=_item_keys(path, [*details, start], [options.detector]),
                path=path,
                origin=origin,
                samples_per_s=rate,
                start=start,
                stop=stop,
                pictures=(stop or samples or start + 1) - start,
            )
            for start, stop in zip(starts, stops, strict=True)
        ]
    except (UnusableError, OSError) as error:
        return describe_failure(str(file), error)


def describe_failure(file: str, error: Exception) -> Skip:
    """What the report says of a file that could not be used."""
    if isinstance(error, UnusableError):
        return Skip(file, error.reason, error.detail)
    if isinstance(error, OSError):
        return Skip(file, UNREADABLE, error.strerror or str(error))
    return Skip(file, FAILED, f"{type(error).__name__}: {error}")


def annotation_items(path: Path, options: IngestOptions) -> Iterator[AnnotationItem]:
    """The batches of one Hand100M file; raises UnusableError where the file breaks off."""
    images = options.images or path.parent
    folder = str(images.resolve())
    known_sources = (source for source in _HAND100M_SOURCES if source in path.stem.lower())
    source = options.source or next(known_sources, _DEFAULT_SOURCE)
    options = replace(options, source=source)
    annotations = read_annotations(path)
    for number in count():
        rows: list[tuple[Annotation | BadAnnotation, Path, Origin]] = []
        for annotation in islice(annotations, _ANNOTATION_BATCH):
            file = PurePosixPath(annotation.file_name)
            try:
                origin = _origin(file, options, NameRule("parent"))
            except UnusableError as error:
                annotation = BadAnnotation(str(file), error.detail)
                origin = Origin(str(file), source, "", None, 0)
            rows.append((annotation, images / file, origin))
        if not rows:
            return
        pictures = [
            (origin.file, *_size_and_time(picture), origin.video, origin.label) for _, picture, origin in rows
        ]
        keys = _item_keys(path, ["hand100m", source, number], [folder, pictures])
        yield AnnotationItem(keys, tuple(rows))


def _size_and_time(picture: Path) -> tuple[int, int]:
    """Of a picture that annotations name; -1 where it cannot be found, so that it is looked for again."""
    try:
        status = picture.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns

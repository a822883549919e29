"""From the paths a user names to items of work, in a fixed order."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from handsim.animations import probe_animation
from handsim.annotations import AnnotationFile
from handsim.errors import NotThereError, UnusableError
from handsim.ingest.items import Item, PictureItem, VideoItem, describe_failure, file_keys
from handsim.ingest.known import KnownItems
from handsim.ingest.origins import IngestOptions, Origin, Place, find_origin, readable
from handsim.ingest.recordings import Fingerprint, Recording, Recordings, digest_head, take_fingerprint
from handsim.ingest.report import Findings
from handsim.ingest.shard import Shard
from handsim.ingest.tar_items import TarFile
from handsim.ingest.walk import walk
from handsim.media import MediaKind, tell_kind
from handsim.pool.writer import Skip
from handsim.videos import probe_video

_STRETCH_SAMPLES: Final = 64
"""A video is shared out in stretches of this many samples; a killed run repeats at most a few of them."""
_ANIMATION_STRETCH_SAMPLES: Final = 1024
"""Of an animation, each stretch passes over all frames before it."""
_PROBING_THREADS: Final = 8


@dataclass
class Plan:
    """The work of one ingest."""

    files: list[Item] = field(default_factory=list)
    """Pictures and stretches of video, in the order of their paths."""
    annotation_files: list[AnnotationFile] = field(default_factory=list)
    """Read as streams, they can be larger than memory."""
    tars: list[TarFile] = field(default_factory=list)
    """Likewise."""
    pictures: int = 0
    """All pictures and expected frames; what a tar or a file of annotations has is known once it is read."""
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True, eq=False)
class _VideoFile:
    """A video, of which the header was read."""

    path: Path
    size: int
    time_ns: int
    place: Place
    origin: Origin
    is_animation: bool
    duration_s: float | None
    fingerprint: Fingerprint


def plan_ingest(paths: Sequence[Path], options: IngestOptions, known: KnownItems | None = None) -> Plan:
    """Walk the paths and look into the headers of videos; raises NotThereError for an absent path."""
    for path in paths:
        if not path.exists():
            raise NotThereError(
                f"{path} does not exist; give a folder, picture, video or file of annotations that does"
            )
    known = known or KnownItems()
    plan = Plan()
    videos: list[tuple[Path, Place, MediaKind]] = []
    met: set[int] = set()
    for path, place in walk(paths, options, plan.findings):
        try:
            if _is_elsewhere(path, None, options.shard):
                continue
            kind, picture = _tell(path, place, options, known)
            if _is_elsewhere(path, kind, options.shard):
                continue
            if picture is not None and picture.keys.key in met:
                plan.findings.note("file met again", str(place.file), "nothing")
            elif picture is not None and kind == "picture":
                plan.files.append(picture)
            elif kind == "annotations":
                plan.annotation_files.append(AnnotationFile(path, place.file, options.annotations))
            elif kind == "tar":
                status = path.stat()
                plan.tars.append(TarFile(path, place, status.st_size, status.st_mtime_ns))
            else:
                videos.append((path, replace(place, is_recording=True), kind))
            if picture is not None:
                met.add(picture.keys.key)
        except (UnusableError, OSError) as error:
            if options.shard is None or _is_called_jpeg(path) or options.shard.has(path.name):
                plan.findings.skipped.append(describe_failure(str(place.file), error))
    plan.files.extend(_video_items(videos, options, known, plan.findings))
    plan.pictures += sum(item.pictures for item in plan.files)
    return plan


def _is_elsewhere(path: Path, kind: MediaKind | None, shard: Shard | None) -> bool:
    """Whether a file is of another shard; annotations and tars are shared out by what is in them.

    What is called a JPEG is not opened before (``kind`` None): else each machine would read a part of every
    file. Copies of a recording come to one machine, which uses one of them. Raises UnusableError for
    annotations and tars that are called a JPEG.
    """
    is_jpeg = _is_called_jpeg(path)
    if shard is None or (kind is None and not is_jpeg):
        return False
    if kind in ("annotations", "tar"):
        if is_jpeg:
            raise UnusableError("wrong suffix", f"it is called a JPEG, and looks like {kind}")
        return False
    if kind in ("video", "animation") and not is_jpeg:
        return not shard.has(digest_head(path))
    return not shard.has(path.name, _status(path).st_size)


def _is_called_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _tell(
    path: Path, place: Place, options: IngestOptions, known: KnownItems
) -> tuple[MediaKind, PictureItem | None]:
    """The kind of a file, and it as a picture, if its path has a name for that: annotations and tars need
    none."""
    try:
        picture = _picture(path, place, options, known)
    except UnusableError:
        kind = tell_kind(path)
        if kind not in ("annotations", "tar"):
            raise
        return kind, None
    # What was done under this key need not be opened to tell that it is a picture.
    is_done = known.is_done(picture, options.retry_failed)
    return "picture" if is_done else tell_kind(path), picture


def _picture(path: Path, place: Place, options: IngestOptions, known: KnownItems) -> PictureItem:
    origin, status = _find_origin(place, options, known), _status(path)
    work = ["picture", origin.source, options.detector]
    former = _former_details(place, origin, options, known, ["picture"], [])
    keys = file_keys(path, status.st_size, status.st_mtime_ns, work, former)
    return PictureItem(keys, path, status.st_size, origin, json.dumps(work))


def _find_origin(place: Place, options: IngestOptions, known: KnownItems) -> Origin:
    """Hands that an earlier version found in a file keep the name that is in their ids."""
    origin = find_origin(place, options)
    names = known.former_names(origin.source, origin.file)
    return replace(origin, identity=names[0]) if names else origin


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise UnusableError("unreadable", "the link leads nowhere") from None


def _former_details(
    place: Place,
    origin: Origin,
    options: IngestOptions,
    known: KnownItems,
    before: Sequence[Any],
    after: Sequence[Any],
) -> Iterator[list[Any]]:
    """What earlier versions hashed of the work on a file: the names that it had then, and later the detector.

    The names are those that are asked for now, those that were the default, or those of its hands.
    """
    if not known.has_former:
        return
    by_default = (place.file.stem if place.is_recording else place.file.parent.name, None)
    names = [(origin.identity, origin.label), by_default, known.former_names(origin.source, origin.file)]
    for video, label in dict.fromkeys(filter(None, names)):
        details = [*before, origin.source, video, label, *after]
        yield [*details, options.detector]
        yield details


def _video_items(
    videos: Sequence[tuple[Path, Place, MediaKind]],
    options: IngestOptions,
    known: KnownItems,
    findings: Findings,
) -> Iterator[VideoItem]:
    """The stretches of all videos but copies of others, in the order of the videos."""
    with ThreadPoolExecutor(_PROBING_THREADS) as threads:
        probed = list(threads.map(lambda video: _probe(video, options, known), videos))
    files = [file for file in probed if isinstance(file, _VideoFile)]
    findings.skipped += [skip for skip in probed if isinstance(skip, Skip)]
    recordings = Recordings(known)
    stretches: dict[Path, list[VideoItem]] = {}

    def rank(file: _VideoFile) -> tuple[bool, int, int]:
        """What is done keeps its ids; a beginning comes before the whole, ``clip`` before ``clip (1)``."""
        first, *_ = _stretches(file, Recording(file.fingerprint.head), options, known)
        return known.find(first) is None, file.size, len(str(file.path))

    for file in sorted(files, key=rank):
        recording = recordings.identify(file.path, file.size, file.fingerprint, file.origin)
        if recording.known and recording.is_copy and not options.keep_copies:
            other = readable(Path(os.fsdecode(recording.known.path)).name)
            findings.note(
                "the same recording again",
                f"{file.origin.file} is {other}",
                "nothing; --keep-copies uses both",
            )
        else:
            stretches[file.path] = _stretches(file, recording, options, known)
    for file in files:
        yield from stretches.get(file.path, ())


def _probe(
    video: tuple[Path, Place, MediaKind], options: IngestOptions, known: KnownItems
) -> _VideoFile | Skip:
    path, place, kind = video
    try:
        origin, status = _find_origin(place, options, known), _status(path)
        is_animation = kind == "animation"
        info = probe_animation(path) if is_animation else probe_video(path)
        return _VideoFile(
            path=path,
            size=status.st_size,
            time_ns=status.st_mtime_ns,
            place=place,
            origin=origin,
            is_animation=is_animation,
            duration_s=info.duration_s,
            fingerprint=take_fingerprint(path, status.st_size),
        )
    except (UnusableError, OSError) as error:
        return describe_failure(str(place.file), error)


def _stretches(
    file: _VideoFile, recording: Recording, options: IngestOptions, known: KnownItems
) -> list[VideoItem]:
    origin, rate = file.origin, options.samples_per_s
    if recording.is_copy:  # and is kept: its hands are others
        origin = replace(origin, identity=origin.video)
    elif recording.known:
        video = origin.video if options.video_from else recording.known.video
        origin = replace(origin, identity=recording.known.identity, video=video)
    samples = max(1, math.ceil(file.duration_s * rate)) if file.duration_s else None
    starts = range(0, samples or 1, _ANIMATION_STRETCH_SAMPLES if file.is_animation else _STRETCH_SAMPLES)
    # The last stretch is open: headers round, and some give no duration at all.
    stops = [*starts[1:], None]
    items = []
    for start, stop in zip(starts, stops, strict=True):
        work = ["video", origin.source, rate, start, stop, options.detector]
        former = _former_details(file.place, file.origin, options, known, ["video"], [rate, start])
        if options.min_motion is not None:  # earlier versions kept all
            work, former = [*work, "min_motion", options.min_motion], iter(())
        items.append(
            VideoItem(
                keys=file_keys(file.path, file.size, file.time_ns, work, former),
                path=file.path,
                size=file.size,
                origin=origin,
                work=json.dumps(work),
                is_animation=file.is_animation,
                samples_per_s=rate,
                start=start,
                stop=stop,
                pictures=(stop or samples or start + 1) - start,
                digest=recording.digest,
                content=file.fingerprint.content,
            )
        )
    return items

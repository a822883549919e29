"""From the paths a user names to items of work, in a fixed order."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.errors import NotThereError
from handsim.ingest.items import AnnotationItem, Item, Naming, PictureItem, VideoItem, item_key
from handsim.ingest.naming import NameRule, frame_number
from handsim.ingest.options import IngestOptions
from handsim.media.hand100m import count_annotations, read_annotations
from handsim.media.unusable import UnusableError
from handsim.media.videos import VIDEO_SUFFIXES, probe_video
from handsim.pool import Skip

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

"""From the paths a user names to items of work, in a fixed order."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.annotations import ANNOTATION_SUFFIXES, AnnotationFile
from handsim.errors import NotThereError, UnusableError
from handsim.ingest.items import Item, PictureItem, VideoItem, describe_failure, item_keys
from handsim.ingest.origins import IngestOptions, NameRule, find_origin
from handsim.pool.writer import Skip
from handsim.videos import VIDEO_SUFFIXES, probe_video

_STRETCH_SAMPLES: Final = 64
"""A video is shared out in stretches of this many samples; a killed run repeats at most a few of them."""
_PROBING_THREADS: Final = 8


@dataclass
class Plan:
    """The work of one ingest."""

    files: list[Item] = field(default_factory=list)
    """Pictures and stretches of video, in the order of their paths."""
    annotation_files: list[AnnotationFile] = field(default_factory=list)
    """Read as streams, they can be larger than memory."""
    pictures: int = 0
    """All pictures and expected frames; how many hands a file of annotations has is known once it is read."""
    unusable: list[Skip] = field(default_factory=list)


def plan_ingest(paths: Sequence[Path], options: IngestOptions) -> Plan:
    """Walk the paths and look into the headers of videos; raises NotThereError for an absent path."""
    for path in paths:
        if not path.exists():
            raise NotThereError(
                f"{path} does not exist; give a folder, picture, video or file of annotations that does"
            )
    plan = Plan()
    videos: list[tuple[Path, PurePosixPath]] = []
    for path, file in _walk(paths, options.exclude):
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                videos.append((path, file))
            elif path.suffix.lower() in ANNOTATION_SUFFIXES:
                plan.annotation_files.append(AnnotationFile(path, file, options.annotations))
            else:
                origin = find_origin(file, options, NameRule("parent"))
                details = ["picture", origin.source, origin.video, origin.label]
                plan.files.append(PictureItem(item_keys(path, details, [options.detector]), path, origin))
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


def _stretches(path: Path, file: PurePosixPath, options: IngestOptions) -> list[VideoItem] | Skip:
    try:
        origin = find_origin(file, options, NameRule("stem"))
        duration_s, rate = probe_video(path).duration_s, options.samples_per_s
        samples = max(1, math.ceil(duration_s * rate)) if duration_s else None
        starts = range(0, samples or 1, _STRETCH_SAMPLES)
        # The last stretch is open: headers round, and some give no duration at all.
        stops = [*starts[1:], None]
        details = ["video", origin.source, origin.video, origin.label, rate]
        return [
            VideoItem(
                keys=item_keys(path, [*details, start], [options.detector]),
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

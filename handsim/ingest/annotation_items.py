"""Batches of annotations: each with its picture, where its hand comes from, and the hand's id."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.annotations import AnnotatedHand, Annotation, AnnotationFile, BadAnnotation, OwnHand
from handsim.annotations.pictures import PictureFinder
from handsim.errors import UnusableError
from handsim.hand import make_hand_id
from handsim.hashing import hash64
from handsim.ingest.items import AnnotationItem, AnnotationRow, file_keys
from handsim.ingest.origins import (
    DEFAULT_SOURCE,
    IngestOptions,
    Origin,
    Place,
    find_origin,
    find_own_origin,
    readable,
)
from handsim.pool.writer import UNREADABLE

_BATCH: Final = 16
_BATCH_WITHOUT_PICTURES: Final = 1000
_HAND100M_SOURCES: Final = ("ego4d", "100doh")


def annotation_items(
    file: AnnotationFile, finder: PictureFinder, options: IngestOptions
) -> Iterator[AnnotationItem]:
    """The batches of one file; raises UnusableError where it breaks off, after what came before."""
    asked = options.annotations
    rows_of = _Rows(file, finder, options)
    folder = str(finder.folder)
    former_folder = finder.folder if options.images else file.path.resolve().parent
    how = [asked.side, asked.joint_order, asked.min_joints, asked.pictures, asked.boxes and options.detector]
    try:
        status = file.path.stat()
    except OSError as error:
        raise UnusableError(UNREADABLE, error.strerror or str(error)) from error
    batches = _batches(file.read(), _BATCH if asked.pictures else _BATCH_WITHOUT_PICTURES)
    for number, batch in enumerate(batches):
        rows = tuple(rows_of.row(annotation) for annotation in batch)
        pictures = [(row.origin.file, *_size_and_time(row.picture)) for row in rows]
        work = [file.format, rows_of.source, number, folder, pictures, how]
        former: list[list[object]] = []
        if file.format == "hand100m" and asked.pictures:
            named = [
                (_name_below(row, former_folder), *picture[1:], row.origin.identity, row.origin.label)
                for picture, row in zip(pictures, rows, strict=True)
            ]
            first = ["hand100m", rows_of.source, number]
            former = [[*first, str(former_folder), named], first]
        keys = file_keys(file.path.resolve(), status.st_size, status.st_mtime_ns, work, former)
        yield AnnotationItem(keys, rows)


def _batches(annotations: Iterator[Annotation], size: int) -> Iterator[list[Annotation]]:
    """Batches of annotations; where reading ends with an error, that comes after the last batch."""
    batch: list[Annotation] = []
    try:
        for annotation in annotations:
            batch.append(annotation)
            if len(batch) == size:
                yield batch
                batch = []
    except UnusableError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _size_and_time(picture: Path | None) -> tuple[int, int]:
    """Of a picture that annotations name; -1 where it cannot be found, so that it is looked for again."""
    try:
        status = picture.stat() if picture is not None else None
    except OSError:
        status = None
    return (-1, -1) if status is None else (status.st_size, status.st_mtime_ns)


def _name_below(row: AnnotationRow, folder: Path) -> str:
    """A picture's name as earlier versions had it: they looked beside the annotations only."""
    is_there = row.picture is not None and row.picture.is_relative_to(folder)
    return readable(str(row.picture.relative_to(folder))) if row.picture and is_there else row.origin.file


class _Rows:
    """Finds the pictures of annotations, and where their hands come from."""

    def __init__(self, file: AnnotationFile, finder: PictureFinder, options: IngestOptions) -> None:
        self._file, self._finder, self._options = file, finder, options
        published = (name for name in _HAND100M_SOURCES if name in file.path.stem.lower())
        self.source = options.source or next(published, DEFAULT_SOURCE)
        own_folder = file.path.parent
        self._beside = (
            PurePosixPath(own_folder.relative_to(finder.folder).as_posix())
            if options.images is None
            else PurePosixPath()
        )
        self._image: str | None = None
        """The name that was looked for last: a picture's hands follow one another."""

    def row(self, annotation: Annotation) -> AnnotationRow:
        """An annotation with its picture; without a place for the hand it is a bad one."""
        if isinstance(annotation, BadAnnotation):
            return self._bad_row(annotation)
        if annotation.image != self._image:
            self._image = annotation.image
            try:
                self._place: tuple[PurePosixPath, Origin] | UnusableError = self._find(annotation.image)
            except UnusableError as error:
                self._place = error
        if isinstance(self._place, UnusableError):
            why = self._place
            return self._bad_row(BadAnnotation(annotation.image, why.reason, why.detail))
        below, origin = self._place
        picture = self._finder.folder / below if self._options.annotations.pictures else None
        if isinstance(annotation, OwnHand):
            return AnnotationRow(
                annotation, picture, find_own_origin(annotation.hand, self._options), annotation.key
            )
        origin = self._with_own_words(annotation, origin)
        return AnnotationRow(annotation, picture, origin, self._hand_id(annotation, below, origin))

    def _bad_row(self, annotation: BadAnnotation) -> AnnotationRow:
        file = readable(annotation.image) or str(self._file.file)
        return AnnotationRow(annotation, None, Origin(file, self.source, "", None, 0, ""), 0)

    def _find(self, image: str) -> tuple[PurePosixPath, Origin]:
        named = PurePosixPath(image)
        found = self._finder.find(image, self._beside) if self._options.annotations.pictures else named
        if found is None:
            where = f"no picture of this name, or of a tail of it, is below {self._finder.folder}"
            raise UnusableError(
                UNREADABLE, f"{where}; --images names another folder, a later run looks again"
            )
        place = Place("", PurePosixPath(readable(str(found))))
        origin = replace(find_origin(place, self._options), source=self.source)
        if self._options.video_from is None:
            folder = found.parent if found.parent.parts else named.parent
            # Without any folder, each picture is by itself.
            video = readable(folder.as_posix().strip("/.")) or found.stem
            identity = named.parent.name if self._file.format == "hand100m" else video
            origin = replace(origin, video=video, identity=identity)
        return found, origin

    def _with_own_words(self, annotation: AnnotatedHand, origin: Origin) -> Origin:
        """What the annotation itself says of its origin; options that were given come first."""
        asked = self._options
        if annotation.video is not None and asked.video_from is None:
            video = readable(annotation.video)
            origin = replace(origin, video=video, identity=video)
        if annotation.label is not None and asked.label_from is None:
            origin = replace(origin, label=readable(annotation.label))
        if annotation.source is not None and asked.source is None:
            origin = replace(origin, source=readable(annotation.source))
        return origin if annotation.frame is None else replace(origin, frame=annotation.frame)

    def _hand_id(self, annotation: AnnotatedHand, below: PurePosixPath, origin: Origin) -> int:
        if self._file.format == "hand100m":  # as in pools
            return make_hand_id(origin.source, origin.identity, 0, 0, readable(f"hand100m:{annotation.key}"))
        # Annotation tools begin anew with hand 1 in 1.jpg: where it lies tells it from another task's.
        place = hash64(annotation.points.tobytes() + repr(annotation.box_px).encode())
        content = f"{self._file.format}:{below.name}:{annotation.key}:{place:x}"
        return make_hand_id(origin.source, origin.identity, origin.frame, 0, readable(content))

"""Batches of annotations, and the hands that annotations and their pictures make."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from handsim.errors import UnusableError
from handsim.geometry import square_around
from handsim.hand import Hand, make_hand_id
from handsim.images import decode_image, encode_crop, read_file
from handsim.ingest.hand100m import Annotation, BadAnnotation, keypoints_in_our_crop, read_annotations
from handsim.ingest.items import AnnotationItem, ItemResult, item_keys
from handsim.ingest.origins import DEFAULT_SOURCE, IngestOptions, Origin, Place, find_origin

_ANNOTATION_BATCH: Final = 16
_HAND100M_SOURCES: Final = ("ego4d", "100doh")


def annotation_items(path: Path, options: IngestOptions) -> Iterator[AnnotationItem]:
    """The batches of one Hand100M file; raises UnusableError where the file breaks off."""
    images = options.images or path.parent
    folder = str(images.resolve())
    known_sources = (source for source in _HAND100M_SOURCES if source in path.stem.lower())
    source = options.source or next(known_sources, DEFAULT_SOURCE)
    options = replace(options, source=source)
    annotations = read_annotations(path)
    for number in count():
        rows: list[tuple[Annotation | BadAnnotation, Path, Origin]] = []
        for annotation in islice(annotations, _ANNOTATION_BATCH):
            file = PurePosixPath(annotation.file_name)
            try:
                origin = find_origin(Place("", file), options)
            except UnusableError as error:
                annotation = BadAnnotation(str(file), error.detail)
                origin = Origin(str(file), source, "", None, 0, "")
            rows.append((annotation, images / file, origin))
        if not rows:
            return
        pictures = [
            (origin.file, *_size_and_time(picture), origin.video, origin.label) for _, picture, origin in rows
        ]
        keys = item_keys(path, ["hand100m", source, number], [folder, pictures])
        yield AnnotationItem(keys, tuple(rows))


def _size_and_time(picture: Path) -> tuple[int, int]:
    """Of a picture that annotations name; -1 where it cannot be found, so that it is looked for again."""
    try:
        status = picture.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def add_annotated_hand(
    result: ItemResult, annotation: Annotation | BadAnnotation, path: Path, origin: Origin
) -> None:
    """Put one hand and its crop into the result; raises UnusableError for what cannot be used."""
    result.pictures += 1
    if isinstance(annotation, BadAnnotation):
        raise UnusableError("bad annotation", annotation.detail)
    image = decode_image(read_file(path))
    hand = Hand(
        hand_id=make_hand_id(origin.source, origin.identity, 0, 0, f"hand100m:{annotation.hand_id}"),
        source=origin.source,
        video=origin.video,
        frame=origin.frame,
        side=annotation.side,
        score=1.0,
        box_px=annotation.box_px.astype(np.float32),
        keypoints=keypoints_in_our_crop(annotation, image.shape[1], image.shape[0]),
        label=origin.label,
        file=origin.file,
        external_id=annotation.hand_id,
        external_positives=annotation.positives,
    )
    result.hands.append((hand, encode_crop(image, square_around(annotation.box_px), annotation.side)))

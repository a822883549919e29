"""What a worker does with one item: read it, find the hands, cut and encode their crops."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import HandDetector, hand_in_crop
from handsim.errors import UnusableError
from handsim.geometry import cut_crop, square_around
from handsim.hand import Hand, Side, make_hand_id
from handsim.images import decode_image, encode_jpeg, read_file
from handsim.ingest.hand100m import Annotation, BadAnnotation, keypoints_in_our_crop
from handsim.ingest.plan import AnnotationItem, Item, ItemResult, Naming, PictureItem, VideoItem
from handsim.pool import Skip
from handsim.videos import sample_frames

_DIGEST_BYTES: Final = 1 << 16
"""A video is known by its first 64 kilobytes: enough to tell recordings apart, and the same once a
download that was cut short is complete."""


class ItemWorker:
    """Turns items into hands, one after the other, with one detector."""

    def __init__(self, detector: HandDetector) -> None:
        """The detector is used by this worker alone."""
        self._detector = detector

    def process(self, item: Item) -> ItemResult:
        """Take the hands out of one item; what cannot be used is told in the result, never raised."""
        result = ItemResult(item.key)
        if isinstance(item, AnnotationItem):
            for annotation, path, naming in item.annotations:
                with _telling(result, naming):
                    _annotated_hand(result, annotation, path, naming)
        elif isinstance(item, VideoItem):
            with _telling(result, item.naming):
                self._video(result, item)
        else:
            with _telling(result, item.naming):
                self._picture(result, item)
        return result

    def _picture(self, result: ItemResult, item: PictureItem) -> None:
        result.pictures += 1
        data = read_file(item.path)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if not self._hands(result, decode_image(data), item.naming, item.naming.frame, digest):
            result.skipped.append(Skip(item.naming.file, "no hand"))

    def _video(self, result: ItemResult, item: VideoItem) -> None:
        with item.path.open("rb") as file:
            digest = hashlib.blake2b(file.read(_DIGEST_BYTES), digest_size=16).hexdigest()
        empty = 0
        try:
            for frame in sample_frames(item.path, item.samples_per_s, item.start, item.stop):
                result.pictures += 1
                empty += not self._hands(result, frame.image, item.naming, frame.index, digest)
        finally:
            if empty:
                result.skipped.append(Skip(item.naming.file, "no hand", "frames without a hand", empty))

    def _hands(
        self, result: ItemResult, image: NDArray[np.uint8], naming: Naming, frame: int, digest: str
    ) -> int:
        """Add every hand of a picture to the result; returns how many there are."""
        detections = self._detector.detect(image)
        for ordinal, detection in enumerate(detections):
            square_px, keypoints = hand_in_crop(detection)
            hand = Hand(
                hand_id=make_hand_id(naming.source, naming.video, frame, ordinal, digest),
                source=naming.source,
                video=naming.video,
                frame=frame,
                side=detection.side,
                score=detection.score,
                box_px=detection.box_px,
                keypoints=keypoints,
                label=naming.label,
                file=naming.file,
            )
            result.hands.append((hand, _crop_jpeg(image, square_px, detection.side)))
        found = Counter(result.rungs)
        found.update(detection.stage for detection in detections)
        result.rungs = dict(found)
        return len(detections)


def _annotated_hand(
    result: ItemResult, annotation: Annotation | BadAnnotation, path: Path, naming: Naming
) -> None:
    result.pictures += 1
    if isinstance(annotation, BadAnnotation):
        raise UnusableError("bad annotation", annotation.detail)
    image = decode_image(read_file(path))
    hand = Hand(
        hand_id=make_hand_id(naming.source, naming.video, 0, 0, f"hand100m:{annotation.hand_id}"),
        source=naming.source,
        video=naming.video,
        frame=naming.frame,
        side=annotation.side,
        score=1.0,
        box_px=annotation.box_px.astype(np.float32),
        keypoints=keypoints_in_our_crop(annotation, image.shape[1], image.shape[0]),
        label=naming.label,
        file=naming.file,
        external_id=annotation.hand_id,
        external_positives=annotation.positives,
    )
    result.hands.append((hand, _crop_jpeg(image, square_around(annotation.box_px), annotation.side)))


def _crop_jpeg(image: NDArray[np.uint8], square_px: NDArray[np.float64], side: Side) -> bytes:
    """The crop as the pool stores it: left hands are mirrored, here and nowhere else."""
    crop = cut_crop(image, square_px)
    return encode_jpeg(crop[:, ::-1] if side == "left" else crop)


@contextmanager
def _telling(result: ItemResult, naming: Naming) -> Iterator[None]:
    """Turn what goes wrong with one file into a line of the report: one bad file never ends a run."""
    try:
        yield
    except UnusableError as error:
        result.skipped.append(Skip(naming.file, error.reason, error.detail))
    except Exception as error:  # the file's fault or ours: the report says what it was
        result.skipped.append(Skip(naming.file, "failed", f"{type(error).__name__}: {error}"))

"""What a worker does with one item: read it, find the hands, cut and encode their crops."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from handsim.ingest.plan import AnnotationItem, Item, Origin, PictureItem, VideoItem
from handsim.pool.writer import FAILED, FAILURES, UNREADABLE, Skip
from handsim.videos import sample_frames

_DIGEST_BYTES: Final = 1 << 16
"""A video is known by its first 64 kilobytes: enough to distinguish recordings, and the same once a download
that was cut short is complete."""


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
    stages: Counter[str] = field(default_factory=Counter)
    """How many hands each try of the detector found."""

    @property
    def has_failed(self) -> bool:
        """Whether another try may find more; see `FAILURES`."""
        return any(skip.reason in FAILURES for skip in self.skipped)


class ItemWorker:
    """Turns items into hands, one after the other, with one detector."""

    def __init__(self, detector: HandDetector) -> None:
        """The detector is used by this worker alone."""
        self._detector = detector

    def process(self, item: Item) -> ItemResult:
        """Take the hands out of one item; the result says what cannot be used, nothing is raised."""
        result = ItemResult(item.keys.key)
        if isinstance(item, AnnotationItem):
            for annotation, path, origin in item.annotations:
                with _report_errors(result, origin):
                    _add_annotated_hand(result, annotation, path, origin)
        else:
            with _report_errors(result, item.origin):
                if isinstance(item, VideoItem):
                    self._add_video(result, item)
                else:
                    self._add_picture(result, item)
        return result

    def _add_picture(self, result: ItemResult, item: PictureItem) -> None:
        result.pictures += 1
        data = read_file(item.path)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if not self._add_hands(result, decode_image(data), item.origin, item.origin.frame, digest):
            result.skipped.append(Skip(item.origin.file, "no hand"))

    def _add_video(self, result: ItemResult, item: VideoItem) -> None:
        with item.path.open("rb") as file:
            digest = hashlib.blake2b(file.read(_DIGEST_BYTES), digest_size=16).hexdigest()
        empty = 0
        try:
            for frame in sample_frames(item.path, item.samples_per_s, item.start, item.stop):
                result.pictures += 1
                empty += not self._add_hands(result, frame.image, item.origin, frame.index, digest)
        finally:
            if empty:
                result.skipped.append(Skip(item.origin.file, "no hand", "frames without a hand", empty))

    def _add_hands(
        self, result: ItemResult, image: NDArray[np.uint8], origin: Origin, frame: int, digest: str
    ) -> int:
        """Add every hand of a picture to the result; returns how many there are."""
        detections = self._detector.detect(image)
        for ordinal, detection in enumerate(detections):
            square_px, keypoints = hand_in_crop(detection)
            hand = Hand(
                hand_id=make_hand_id(origin.source, origin.video, frame, ordinal, digest),
                source=origin.source,
                video=origin.video,
                frame=frame,
                side=detection.side,
                score=detection.score,
                box_px=detection.box_px,
                keypoints=keypoints,
                label=origin.label,
                file=origin.file,
            )
            result.hands.append((hand, _encode_crop(image, square_px, detection.side)))
            result.stages[detection.stage] += 1
        return len(detections)


def _add_annotated_hand(
    result: ItemResult, annotation: Annotation | BadAnnotation, path: Path, origin: Origin
) -> None:
    result.pictures += 1
    if isinstance(annotation, BadAnnotation):
        raise UnusableError("bad annotation", annotation.detail)
    image = decode_image(read_file(path))
    hand = Hand(
        hand_id=make_hand_id(origin.source, origin.video, 0, 0, f"hand100m:{annotation.hand_id}"),
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
    result.hands.append((hand, _encode_crop(image, square_around(annotation.box_px), annotation.side)))


def _encode_crop(image: NDArray[np.uint8], square_px: NDArray[np.float64], side: Side) -> bytes:
    """The crop as the pool stores it: left hands are mirrored, here and nowhere else."""
    crop = cut_crop(image, square_px)
    return encode_jpeg(crop[:, ::-1] if side == "left" else crop)


@contextmanager
def _report_errors(result: ItemResult, origin: Origin) -> Iterator[None]:
    """Turn what goes wrong with one file into a line of the report: one bad file never ends a run."""
    try:
        yield
    except UnusableError as error:
        result.skipped.append(Skip(origin.file, error.reason, error.detail))
    except OSError as error:
        result.skipped.append(Skip(origin.file, UNREADABLE, error.strerror or str(error)))
    except Exception as error:  # of the file, or ours: the report says what it was
        result.skipped.append(Skip(origin.file, FAILED, f"{type(error).__name__}: {error}"))

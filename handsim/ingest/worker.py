"""What a worker does with one item: read it, find the hands, cut and encode their crops."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection, HandDetector, hand_in_crop
from handsim.errors import UnusableError
from handsim.geometry import cut_crop, square_around
from handsim.hand import Hand, Side, make_hand_id
from handsim.images import decode_image, encode_jpeg, read_file
from handsim.ingest.hand100m import Annotation, BadAnnotation, keypoints_in_our_crop
from handsim.ingest.plan import AnnotationItem, Item, Origin, PictureItem, VideoItem, describe_failure
from handsim.pool.writer import FAILURES, Skip
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
    stages: Counter[str] = field(default_factory=Counter)
    """How many hands each try of the detector found."""

    @property
    def has_failed(self) -> bool:
        """Whether another try may find more; see `FAILURES`."""
        return any(skip.reason in FAILURES for skip in self.skipped)


def process_item(item: Item, detector: HandDetector) -> ItemResult:
    """Take the hands out of one item; the result says what cannot be used, nothing is raised."""
    result = ItemResult(item.keys.key)
    if isinstance(item, AnnotationItem):
        for annotation, path, origin in item.annotations:
            with _report_errors(result, origin):
                _add_annotated_hand(result, annotation, path, origin)
    else:
        with _report_errors(result, item.origin):
            if isinstance(item, VideoItem):
                _add_video(result, item, detector)
            else:
                _add_picture(result, item, detector)
    return result


def _add_picture(result: ItemResult, item: PictureItem, detector: HandDetector) -> None:
    result.pictures += 1
    data = read_file(item.path)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    detections = detector.detect(image := decode_image(data))
    _add_hands(result, image, detections, item.origin, item.origin.frame, digest)
    if not detections:
        result.skipped.append(Skip(item.origin.file, "no hand"))


def _add_video(result: ItemResult, item: VideoItem, detector: HandDetector) -> None:
    with item.path.open("rb") as file:
        digest = hashlib.blake2b(file.read(_DIGEST_BYTES), digest_size=16).hexdigest()
    empty = 0
    try:
        for frame in sample_frames(item.path, item.samples_per_s, item.start, item.stop):
            result.pictures += 1
            detections = detector.detect(frame.image)
            _add_hands(result, frame.image, detections, item.origin, frame.index, digest)
            empty += not detections
    finally:
        if empty:
            result.skipped.append(Skip(item.origin.file, "no hand", "frames without a hand", empty))


def _add_hands(
    result: ItemResult,
    image: NDArray[np.uint8],
    detections: Sequence[Detection],
    origin: Origin,
    frame: int,
    digest: str,
) -> None:
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
    """The crop as the pool stores it: a left hand's is mirrored, as its keypoints are already."""
    crop = cut_crop(image, square_px)
    return encode_jpeg(crop[:, ::-1] if side == "left" else crop)


@contextmanager
def _report_errors(result: ItemResult, origin: Origin) -> Iterator[None]:
    """Turn what goes wrong with one file into a line of the report: one bad file never ends a run."""
    try:
        yield
    except Exception as error:  # of the file, or ours: the report says what it was
        result.skipped.append(describe_failure(origin.file, error))

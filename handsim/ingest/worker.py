"""What a worker does with one item: read it, find the hands, cut and encode their crops."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection, HandDetector, hand_in_crop
from handsim.errors import Remark
from handsim.hand import Hand, make_hand_id
from handsim.images import decode_image, encode_crop, read_file
from handsim.ingest.annotated import add_annotated_hand
from handsim.ingest.items import AnnotationItem, Item, ItemResult, PictureItem, VideoItem, describe_failure
from handsim.ingest.origins import Origin
from handsim.pool.writer import Skip
from handsim.videos import sample_frames

_DIGEST_BYTES: Final = 1 << 16
"""A video is known by its first 64 kilobytes: enough to distinguish recordings, and the same once a download
that was cut short is complete."""


def process_item(item: Item, detector: HandDetector) -> ItemResult:
    """Take the hands out of one item; the result says what cannot be used, nothing is raised."""
    result = ItemResult(item.keys.key)
    if isinstance(item, AnnotationItem):
        for annotation, path, origin in item.annotations:
            with _report_errors(result, origin):
                add_annotated_hand(result, annotation, path, origin)
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
    empty, remarks = 0, list[Remark]()
    try:
        for frame in sample_frames(item.path, item.samples_per_s, item.start, item.stop, remarks):
            result.pictures += 1
            detections = detector.detect(frame.image)
            _add_hands(result, frame.image, detections, item.origin, frame.index, digest)
            empty += not detections
    finally:
        for remark in remarks:
            result.skipped.append(Skip(item.origin.file, remark.reason, remark.detail, remark.count))
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
        result.hands.append((hand, encode_crop(image, square_px, detection.side)))
        result.stages[detection.stage] += 1


@contextmanager
def _report_errors(result: ItemResult, origin: Origin) -> Iterator[None]:
    """Turn what goes wrong with one file into a line of the report: one bad file never ends a run."""
    try:
        yield
    except Exception as error:  # of the file, or ours: the report says what it was
        result.skipped.append(describe_failure(origin.file, error))

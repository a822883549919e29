"""What a worker does with one item: read it, find the hands, cut and encode their crops."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handsim.animations import sample_animation
from handsim.detection.detector import Detection, HandDetector, UndetectedError, hand_in_crop
from handsim.errors import Remark
from handsim.geometry import CROP_ENLARGEMENT, square_around
from handsim.hand import Hand, make_hand_id
from handsim.images import decode_picture, encode_crop, read_file
from handsim.ingest.annotated import AnnotatedHands, as_crop, named_hand
from handsim.ingest.items import AnnotationItem, Item, ItemResult, PictureItem, VideoItem, describe_failure
from handsim.ingest.origins import Origin
from handsim.pool.writer import Skip
from handsim.videos import sample_frames


def process_item(
    item: Item,
    detector: HandDetector | None,
    on_progress: Callable[[], None] = lambda: None,
    enlargement: float = CROP_ENLARGEMENT,
) -> ItemResult:
    """Take the hands out of one item; the result says what cannot be used, nothing is raised.

    ``on_progress`` is called after each frame and each annotated picture. Pictures of hands are
    ``enlargement`` times as long as the hand's box. Without a detector only annotations
    that give the joints can be processed.
    """
    result = ItemResult(item.keys.key)
    if isinstance(item, AnnotationItem):
        annotated = AnnotatedHands(result, detector, enlargement)
        for row in item.rows:
            with _report_errors(result, row.origin):
                annotated.add(row)
            on_progress()
        annotated.finish()
    elif detector is not None:
        with _report_errors(result, item.origin):
            if isinstance(item, VideoItem):
                _add_video(result, item, detector, on_progress, enlargement)
            else:
                _add_picture(result, item, detector, enlargement)
    return result


def _add_picture(result: ItemResult, item: PictureItem, detector: HandDetector, enlargement: float) -> None:
    result.pictures += 1
    data = read_file(item.source)
    result.digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    picture = decode_picture(data)
    if item.hand is not None:
        jpeg = as_crop(data, picture, item.hand, enlargement)
        result.hands.append((named_hand(item.hand, item.origin), jpeg))
        return
    del data
    result.add_remarks(item.origin.file, picture.remarks)
    detections = _detect(result, detector, picture.pixels, item.origin)
    frame = _Frame(picture.pixels, item.origin.frame, result.digest, picture.scale)
    _add_hands(result, frame, detections or [], item.origin, enlargement)
    if detections == []:
        result.skipped.append(Skip(item.origin.file, "no hand"))


def _add_video(
    result: ItemResult,
    item: VideoItem,
    detector: HandDetector,
    on_progress: Callable[[], None],
    enlargement: float,
) -> None:
    sample = sample_animation if item.is_animation else sample_frames
    empty, remarks = 0, list[Remark]()
    try:
        for frame in sample(item.path, item.samples_per_s, item.start, item.stop, remarks):
            result.pictures += 1
            detections = _detect(result, detector, frame.image, item.origin)
            seen = _Frame(frame.image, frame.index, item.digest)
            _add_hands(result, seen, detections or [], item.origin, enlargement)
            if detections is not None:
                result.frames.append((frame.time_s, detections))
            empty += detections == []
            on_progress()
    finally:
        result.add_remarks(item.origin.file, remarks)
        if empty:
            result.skipped.append(Skip(item.origin.file, "no hand", "frames without a hand", empty))


def _detect(
    result: ItemResult, detector: HandDetector, image: NDArray[np.uint8], origin: Origin
) -> list[Detection] | None:
    """The hands of a picture; where a detector fails, those that others of its chain found, None if none."""
    try:
        return detector.detect([image])[0]
    except UndetectedError as error:
        result.skipped.append(describe_failure(origin.file, error))
        return error.found[0] or None


class _Frame(NamedTuple):
    """A picture, or a frame of a video."""

    image: NDArray[np.uint8]
    number: int
    digest: str
    """Of its file, as ids have it."""
    scale: float = 1.0
    """At which it was decoded; boxes are given in the picture's own pixels."""


def _add_hands(
    result: ItemResult,
    frame: _Frame,
    detections: Sequence[Detection],
    origin: Origin,
    enlargement: float,
) -> None:
    for ordinal, detection in enumerate(detections):
        _, keypoints = hand_in_crop(detection)
        square_px = square_around(detection.box_px, enlargement)
        hand = Hand(
            hand_id=make_hand_id(origin.source, origin.identity, frame.number, ordinal, frame.digest),
            source=origin.source,
            video=origin.video,
            frame=frame.number,
            side=detection.side,
            score=detection.score,
            box_px=detection.box_px / np.float32(frame.scale),
            keypoints=keypoints,
            label=origin.label,
            file=origin.file,
            joint_scores=detection.joint_scores,
        )
        result.hands.append((hand, encode_crop(frame.image, square_px, mirrored=detection.looks_left)))
        result.count(detection)


@contextmanager
def _report_errors(result: ItemResult, origin: Origin) -> Iterator[None]:
    """Turn what goes wrong with one file into a line of the report: one bad file never ends a run."""
    try:
        yield
    except Exception as error:  # of the file, or ours: the report says what it was
        result.skipped.append(describe_failure(origin.file, error))

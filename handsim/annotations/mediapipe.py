"""Results of MediaPipe's hand landmarkers, written down as JSON: an object per picture or frame, in a list,
one after the other (JSON lines), alone, or under the picture's name.

Fields: the picture in ``image``, ``file_name``, ``file`` or ``path`` (else the name it stands under, or
that of the JSON itself); ``hand_landmarks``, ``handLandmarks``, ``landmarks`` or ``multi_hand_landmarks``:
hands of 21 points, each ``{"x", "y", "z"}`` or [x, y, z], in parts of the picture's width (x, z) and
height (y); and ``handedness``, ``handednesses`` or ``multi_handedness``: one per hand, its first
category's ``category_name``, ``categoryName``, ``display_name`` or ``label`` and ``score``. Optional:
``width`` and ``height``, ``video``, ``frame``. The older ``multi_handedness`` names the side of a mirrored
picture, so it is turned round.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from handsim.annotations.annotated_hand import RawHand, read_side
from handsim.annotations.json_stream import JsonStream
from handsim.annotations.results import PictureResult, first_of, picture_results, picture_size

LANDMARKS: Final = ("hand_landmarks", "handLandmarks", "landmarks", "multi_hand_landmarks")
_HANDEDNESS: Final = ("handedness", "handednesses", "multi_handedness")
_NAMES: Final = ("category_name", "categoryName", "label", "display_name", "displayName")


class MediaPipeReader:
    """The hands of each result; see `handsim.annotations.formats.AnnotationReader`."""

    def __init__(self, file: PurePosixPath) -> None:
        self._file = file

    def records(self, stream: JsonStream) -> Iterator[Any]:
        return picture_results(stream.values(), self._file, LANDMARKS)

    def hands(self, number: int, record: PictureResult) -> Iterator[RawHand]:
        """The hands of one picture."""
        image, result = record
        categories = first_of(result, _HANDEDNESS) or []
        for ordinal, landmarks in enumerate(first_of(result, LANDMARKS) or []):
            side, score = _side_and_score(categories[ordinal]) if ordinal < len(categories) else (None, None)
            if side is not None and "multi_handedness" in result:
                side = {"left": "right", "right": "left"}.get(read_side(side) or "", side)
            yield RawHand(
                place=f"result {number} ({image:.60}), hand {ordinal}",
                image=image,
                key=f"{result.get('frame', '')}/{ordinal}",
                side=side,
                keypoints=[_point(point) for point in _inner(landmarks, "landmark")],
                third="depth",
                unit="picture",
                score=score,
                size=picture_size(result),
                video=result.get("video"),
                frame=result.get("frame"),
            )


def _inner(value: Any, name: str) -> Any:
    """What a message of the older API has inside, or the value itself."""
    return value[name] if isinstance(value, dict) and name in value else value


def _point(point: Any) -> Any:
    return [point["x"], point["y"], point.get("z", 0.0)] if isinstance(point, dict) else point


def _side_and_score(categories: Any) -> tuple[Any, Any]:
    first = _inner(categories, "classification")
    first = first[0] if isinstance(first, list) and first else first
    if not isinstance(first, dict):
        return first or None, None
    score = first.get("score")
    return first_of(first, _NAMES), None if score is None else min(1.0, float(score))

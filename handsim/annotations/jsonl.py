"""Our own JSON lines (``handsim-jsonl``), for every annotation that no other format holds: one hand, one
object.

Fields: ``image`` (the picture, below the folder of pictures), ``side``, ``keypoints`` (21 of [x, y] or [x,
y, z] in pixels of the picture; z relative to the wrist, smaller is nearer; null: not labelled) or ``box``
(x0, y0, x1, y1), or both. Optional: ``joint_scores`` (21, 0 to 1), ``score``, ``video``, ``frame``,
``label``, ``source``, ``id`` (tells the hand from others, and is kept as its external id), ``width`` and
``height``. A list of such objects is read as well.
"""

from collections.abc import Iterator
from typing import Any

from handsim.annotations.annotated_hand import RawHand
from handsim.annotations.json_stream import JsonStream
from handsim.annotations.results import picture_size


class JsonLinesReader:
    """One hand per object; see `handsim.annotations.formats.AnnotationReader`."""

    def records(self, stream: JsonStream) -> Iterator[Any]:
        return stream.values()

    def hands(self, number: int, record: dict[str, Any]) -> Iterator[RawHand]:
        """The hand of one object."""
        identity = record.get("id")
        place = f"hand {number}" if identity is None else f"hand {number} ({identity!r:.40})"
        yield RawHand(
            place=place,
            image=str(record["image"]),
            key=f"#{number}" if identity is None else identity,
            side=record.get("side"),
            keypoints=record.get("keypoints"),
            third="depth",
            box=record.get("box"),
            joint_scores=record.get("joint_scores"),
            score=record.get("score"),
            size=picture_size(record),
            video=record.get("video"),
            frame=record.get("frame"),
            label=record.get("label"),
            source=record.get("source"),
            external_id=None if identity is None else str(identity),
        )

"""OpenPose (Cao et al., TPAMI 2021): a folder with one JSON file per frame, ``<name>_keypoints.json``.

Format: ``people[]`` with ``hand_left_keypoints_2d`` and ``hand_right_keypoints_2d``, each 63 numbers: 21
times x, y, confidence in pixels of the picture. A confidence of 0 says that the joint was not found. The
picture is the one of that name below the folder of pictures, or else the only one with that number in its
name.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from handsim.annotations.annotated_hand import RawHand
from handsim.annotations.json_stream import JsonStream
from handsim.hand import SIDES


class OpenPoseReader:
    """Both hands of every person of one frame; see `handsim.annotations.formats.AnnotationReader`."""

    def __init__(self, file: PurePosixPath) -> None:
        """``file`` is its path below the folder that was named, that folder included."""
        name = file.stem.removesuffix("_keypoints")
        self._image = PurePosixPath(*file.parts[1:-1], name).as_posix()
        # clip_000000000012 is frame 12 of clip
        numbers = re.findall(r"\d+", name)
        self._frame = int(numbers[-1][-18:]) if numbers else 0
        clip = re.sub(r"[_\-. ]*\d+$", "", name)
        self._video = PurePosixPath(*(file.parts[1:-1] if clip else file.parts[:-1]), clip).as_posix()

    def records(self, stream: JsonStream) -> Iterator[Any]:
        return (entry for name, entry in stream.members() if name == "people")

    def hands(self, number: int, record: dict[str, Any]) -> Iterator[RawHand]:
        """The hands of one person that have any joint."""
        for side in SIDES:
            keypoints = record.get(f"hand_{side}_keypoints_2d") or ()
            confidence = [value for value in keypoints[2::3] if value]
            if confidence:
                yield RawHand(
                    place=f"person {number}, {side} hand",
                    image=self._image,
                    key=f"{number}/{side}",
                    side=side,
                    keypoints=keypoints,
                    third="score",
                    score=min(1.0, float(np.mean(confidence))),
                    video=self._video,
                    frame=self._frame,
                )

"""FreiHAND (Zimmermann et al., ICCV 2019): ``training_xyz.json`` and ``training_K.json`` by ``training/rgb``.

Format: lists of equal length. An entry of xyz is [21, 3] metres in the camera's frame, one of K the
camera's [3, 3] in pixels (whole numbers are pixel centres). Each hand was photographed once and given four
backgrounds: picture id + U v is version v of hand id, U being the length of the lists. All are right
hands. The versions of a hand are one recording: pairing them would pair a picture with itself.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np

from handsim.annotations.annotated_hand import AnnotationOptions, RawHand
from handsim.annotations.json_stream import JsonStream
from handsim.errors import UnusableError
from handsim.geometry import PIXEL_CENTRE
from handsim.skeleton import JOINT_COUNT, WRIST

VERSIONS: Final = 4
_PICTURE_PX: Final = 224
_MM_PER_M: Final = 1000.0


class FreiHANDReader:
    """Hands of one ``*_xyz.json``; see `handsim.annotations.formats.AnnotationReader`."""

    def __init__(self, path: Path, options: AnnotationOptions) -> None:
        """Raises UnusableError for a file that is not ``*_xyz.json``, or lies without its ``*_K.json``."""
        if not path.name.endswith("_xyz.json"):
            raise UnusableError("part of FreiHAND", "it is read with the *_xyz.json beside it; give that")
        self._part = path.name.removesuffix("_xyz.json")
        self._cameras = path.with_name(f"{self._part}_K.json")
        if not self._cameras.is_file():
            raise UnusableError("not annotations", f"{self._cameras.name} is not beside it; get that too")
        self._versions = VERSIONS if self._part == "training" and options.pictures else 1
        with JsonStream(path) as stream, suppress(UnusableError):
            self._count = 0
            for self._count, _ in enumerate(stream.values(), 1):
                pass

    def records(self, stream: JsonStream) -> Iterator[Any]:
        with JsonStream(self._cameras) as cameras:
            yield from zip_longest(stream.values(), cameras.values())

    def hands(self, number: int, record: tuple[Any, Any]) -> Iterator[RawHand]:
        """A hand in each of its versions; those whose pictures are missing are reported like all others."""
        joints, camera = (np.array(values, dtype=np.float64) for values in record)
        if joints.shape != (JOINT_COUNT, 3) or camera.shape != (3, 3):
            shapes = f"xyz is {list(joints.shape)} and K {list(camera.shape)}"
            raise UnusableError(
                "wrong joint count", f"hand {number}: {shapes}; [{JOINT_COUNT}, 3] and [3, 3]"
            )
        depth = joints[:, 2:]
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is not labelled
            projected = joints @ camera.T / depth + PIXEL_CENTRE
            depth_px = (depth - depth[WRIST]) / depth[WRIST] * camera[0, 0]
        for version in range(self._versions):
            picture = f"{self._part}/rgb/{number + version * self._count:08d}.jpg"
            yield RawHand(
                place=f"hand {number}",
                image=picture,
                key=f"{number}/{version}",
                side="right",
                keypoints=np.concatenate([projected[:, :2], depth_px], axis=1),
                third="depth",
                size=(_PICTURE_PX, _PICTURE_PX),
                video=f"{self._part}/{number:08d}",
                frame=version,
                joints_mm=joints * _MM_PER_M,
            )

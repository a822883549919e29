"""Photographs, and frames of videos, one after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.media.images import decode_image, read_file
from handsim.media.unusable import UnusableError
from handsim.media.videos import VIDEO_SUFFIXES, probe_video, sample_frames


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph, or a frame."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB, upright."""
    frame: int | None = None
    """Its number in its video, from 0; None for a photograph."""
    time_s: float | None = None
    """When it is shown; None for a photograph."""


def is_video(path: Path) -> bool:
    """Whether a file's name says that it is one."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def pictures_of(path: Path, every_s: float) -> Iterator[Picture]:
    """A file's picture, or a frame of a video every ``every_s`` seconds.

    Raises UnusableError for a file that is not there, is no picture or is damaged; for a video that is cut
    off, after the frames before the cut.
    """
    if not path.exists():
        raise UnusableError("no such file", "")
    if path.is_dir():
        raise UnusableError("a folder", f"its pictures would do, as in {path}/*.jpg")
    if not is_video(path):
        yield Picture(decode_image(read_file(path)))
        return
    frames_per_s = probe_video(path).frames_per_s
    for sampled in sample_frames(path, 1 / every_s, 0, None):
        yield Picture(sampled.image, sampled.index, sampled.index / frames_per_s)

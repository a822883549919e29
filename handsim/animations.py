"""Sampling frames from GIF, APNG, animated WebP and the pages of TIFF at a steady rate, as from videos.

Sequences in HEIF and AVIF are films, and are read as such.
"""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.decoding.frame_times import FrameTimes, read_frame_times
from handsim.decoding.metadata import mend_webp, orientation_of
from handsim.decoding.rgb import to_rgb, turn_upright
from handsim.errors import Remark, UnusableError
from handsim.images import DAMAGED, MAX_FILE_BYTES, MAX_PIXELS
from handsim.media import open_file
from handsim.processes import quiet_stderr
from handsim.videos import SampledFrame, VideoInfo

_FORMATS: Final = ("GIF", "PNG", "WEBP", "TIFF")
_MAX_FRAMES: Final = 20_000
_MAX_TOTAL_PIXELS: Final = 20_000_000_000
"""Each frame of a GIF is laid over the one before: a small file can ask for any amount of work."""
_TOLERANCE_S: Final = 1e-6


def probe_animation(path: Path) -> VideoInfo:
    """The duration of an animation and the rate of its quickest frames; raises UnusableError for none."""
    with open_file(path) as file:
        times = _read_times(file)
    return VideoInfo(sum(times.durations_s), _frames_per_s(times))


def sample_animation(
    path: Path, rate: float, start: int, stop: int | None, remarks: list[Remark] | None = None
) -> Iterator[SampledFrame]:
    """Samples ``start`` to ``stop`` (excluded; None: to the end) of an animation, ``rate`` a second.

    Sample k is the first frame at or after k / rate seconds, whole, upright and on a plain ground. What is
    damaged or too much is left out and put into ``remarks``. Raises UnusableError where no frame is left of
    the first stretch.
    """
    remarks = [] if remarks is None else remarks
    with open_file(path) as file:
        times = _read_times(file)
        wanted = _choose(times, rate, start, stop)
        if stop is None and len(times.numbers) == _MAX_FRAMES:
            remarks.append(Remark("animation too long", f"only its first {_MAX_FRAMES:,} frames are used"))
        elif stop is None and not times.is_complete:
            remarks.append(Remark("truncated animation", f"it breaks off after {len(times.numbers)} frames"))
        yield from _decode(file, wanted, remarks, is_first=start == 0)


def _read_times(file: BinaryIO) -> FrameTimes:
    times = read_frame_times(file, _MAX_FRAMES)
    if not times.numbers:
        raise UnusableError("corrupt image", "no frame of the animation is there")
    return times


def _frames_per_s(times: FrameTimes) -> float:
    """The rate at which frames are counted; at a lower one two frames could have one index."""
    return 1 / min(times.durations_s)


def _choose(times: FrameTimes, rate: float, start: int, stop: int | None) -> list[tuple[int, int, float]]:
    """Number in the file, index, and time of each frame that is a sample."""
    chosen = []
    reached, time_s, frames_per_s = start - 1, 0.0, _frames_per_s(times)
    for number, duration_s in zip(times.numbers, times.durations_s, strict=True):
        sample = math.floor((time_s + _TOLERANCE_S) * rate)
        if stop is not None and sample >= stop:
            break
        if sample > reached:
            reached = sample
            # Rounded to the nearest, 3.5 and 4.5 would both be 4.
            chosen.append((number, math.floor(time_s * frames_per_s + _TOLERANCE_S), time_s))
        time_s += duration_s
    return chosen


def _decode(
    file: BinaryIO, wanted: list[tuple[int, int, float]], remarks: list[Remark], is_first: bool
) -> Iterator[SampledFrame]:
    lost: list[str] = []
    budget = _MAX_TOTAL_PIXELS
    with _open(file) as image:
        for done, (number, index, time_s) in enumerate(wanted):
            try:
                # Pages of a TIFF are decoded one by one, other frames with all before them.
                decoded = 1 if image.format == "TIFF" else max(number - image.tell(), 1)
                budget -= image.width * image.height * decoded
                if budget < 0:
                    raise UnusableError("animation too long", "decoding it would take minutes")
                pixels = _decode_frame(image, number)
            except DAMAGED as error:
                lost.append(str(error))
                if image.format == "TIFF":
                    continue
                # Each frame is laid over those before it.
                lost.extend(lost * (len(wanted) - done - 1))
                break
            yield SampledFrame(index, pixels, time_s)
    if is_first and lost and len(lost) == len(wanted):
        raise UnusableError("damaged animation", lost[0])
    if lost:
        remarks.append(Remark("damaged animation", f"{lost[0]}; frames are lost", len(lost)))


def _decode_frame(image: Image.Image, number: int) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.seek(number)
        if image.width * image.height > MAX_PIXELS:
            raise UnusableError("too many pixels", f"{image.width} x {image.height} a frame")
        with quiet_stderr() if image.format == "TIFF" else nullcontext():  # libtiff prints
            pixels = to_rgb(image)
        return turn_upright(pixels, orientation_of(image.info))


def _open(file: BinaryIO) -> Image.Image:
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if file.read(12)[8:] != b"WEBP":
                return Image.open(file, formats=_FORMATS)
            # Pillow reads a WebP whole, the others as they are needed.
            file.seek(0)
            data = file.read(MAX_FILE_BYTES)
            return Image.open(io.BytesIO(mend_webp(data)), formats=_FORMATS)
    except DAMAGED as error:
        raise UnusableError("corrupt image", "its header is damaged") from error

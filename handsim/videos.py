"""Sampling frames from video files at a steady rate.

Times are in seconds from the first frame. The frames of a file need not be equally far apart.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from handsim.errors import UnusableError
from handsim.images import MAX_PIXELS

_SUFFIXES = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
VIDEO_SUFFIXES: Final = frozenset(f".{suffix}" for suffix in _SUFFIXES.split(" "))

_SHORTFALL_S: Final = 1.0
"""Containers round their duration; only a file whose frames end this much earlier is cut off."""

_MAX_RATE: Final = 240.0
"""Frames a second; a header that says more counts ticks of a clock."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says."""

    duration_s: float | None
    """None where the container does not say."""
    frames_per_s: float
    """The nominal frame rate; frame indices count at it."""


@dataclass(frozen=True, eq=False)
class SampledFrame:
    """One frame of a video."""

    index: int
    """Its number in the video, counted from 0 at the nominal frame rate."""
    image: NDArray[np.uint8]
    """RGB [H, W, 3], upright."""


def probe_video(path: Path) -> VideoInfo:
    """Read a video's header; raises UnusableError when it has none or holds no pictures."""
    with _open(path) as container:
        return _read_info(container, _stream(container))


def sample_frames(path: Path, rate: float, start: int, stop: int | None) -> Iterator[SampledFrame]:
    """Samples ``start`` to ``stop`` (excluded; None: to the end) of a video, ``rate`` a second.

    Sample k is the first frame at or after k / rate seconds. Decoding begins at the key frame before the
    first sample, so stretches of one file can be read side by side. Raises UnusableError where the file
    breaks off, after yielding the frames before the cut.
    """
    with _open(path) as container:
        stream = _stream(container)
        info = _read_info(container, stream)
        stream.codec_context.thread_count = 1  # ingest runs a process per core
        # Half a frame of tolerance: 1/30 s and 3003/90000 s are the same moment.
        tolerance_s = 0.5 / info.frames_per_s
        reached, end_s = start - 1, 0.0
        try:
            for frame in _frames_from(container, stream, start / rate):
                time_s = _time_s(frame, stream)
                end_s = time_s + float((frame.duration or 0) * (frame.time_base or 0))
                sample = math.floor((time_s + tolerance_s) * rate)
                if stop is not None and sample >= stop:
                    return
                if sample > reached:
                    reached = sample
                    yield SampledFrame(round(time_s * info.frames_per_s), _upright_rgb(frame))
        except OSError as error:
            raise UnusableError("unreadable", error.strerror or str(error)) from error
        except av.FFmpegError as error:
            where = f"breaks off after {max(reached, 0) / rate:.1f} s"
            raise UnusableError("truncated video", f"{where} ({error.strerror})") from error
        # A last frame may be shown for long, and not every container says how long.
        end_s = max(end_s, (reached + 1) / rate)
        if info.duration_s is not None and end_s < info.duration_s - _SHORTFALL_S:
            raise UnusableError(
                "truncated video", f"frames end before {end_s:.1f} s of {info.duration_s:.1f} s"
            )


def _open(path: Path) -> InputContainer:
    try:
        return av.open(str(path), "r")
    except OSError as error:  # FFmpeg's own errors of this kind, too
        raise UnusableError("unreadable", error.strerror or str(error)) from error
    except av.FFmpegError as error:
        raise UnusableError(
            "not a video", f"{error.strerror}; it may be cut off or of another format"
        ) from error


def _stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise UnusableError("not a video", "it holds no pictures")
    return container.streams.video[0]


def _read_info(container: InputContainer, stream: VideoStream) -> VideoInfo:
    if stream.width * stream.height > MAX_PIXELS:
        raise UnusableError("too many pixels", f"{stream.width} x {stream.height} a frame")
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / av.time_base
    average, guessed = float(stream.average_rate or 0), float(stream.guessed_rate or 0)
    # Frames that are shown for seconds lower the average below any rate at which frames can be counted. The
    # guessed rate may be twice the true one (fields), or a clock's.
    is_uneven = 2.5 * average < guessed <= _MAX_RATE
    return VideoInfo(duration_s, (guessed if is_uneven else average or guessed) or 30.0)


def _frames_from(container: InputContainer, stream: VideoStream, start_s: float) -> Iterator[VideoFrame]:
    """All frames from ``start_s`` on, and some before it.

    Without an index, seeking may land too late; then it is tried again from earlier.
    """
    for margin_s in (0.0, 5.0, start_s):
        if start_s > 0 and stream.time_base is not None:
            target = round(max(start_s - margin_s, 0.0) / stream.time_base) + (stream.start_time or 0)
            container.seek(target, stream=stream, backward=True)
        frames = container.decode(stream)
        first = next(frames, None)
        if first is None:
            return
        if margin_s == start_s or _time_s(first, stream) <= start_s:
            yield first
            yield from frames
            return


def _time_s(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.pts is None or frame.time_base is None:
        raise UnusableError("not a video", "its frames carry no time")
    return float((frame.pts - (stream.start_time or 0)) * frame.time_base)


def _upright_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    # The display matrix of phone videos: degrees counter-clockwise, as np.rot90 turns.
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))

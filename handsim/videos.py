"""Sampling frames from video files at a steady rate.

Times are in seconds from the first frame. The frames of a file need not be equally far apart. What is wrong
with a file that can be used all the same is a `Remark`; only a file without any usable frame is an error.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from handsim.decoding.display_geometry import FrameRenderer
from handsim.decoding.video_clock import (
    Clock,
    has_time_stamps,
    is_broadcast,
    is_steady,
    longest_step_s,
    may_jump,
)
from handsim.decoding.video_frames import FrameReader, Gap
from handsim.errors import Remark, UnusableError
from handsim.images import MAX_PIXELS

_SUFFIXES = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
VIDEO_SUFFIXES: Final = frozenset(f".{suffix}" for suffix in _SUFFIXES.split(" "))

_TIMEOUT_S: Final = 60.0
"""For opening a file, and for reading a packet: a network folder may never answer."""
_SHORTFALL_S: Final = 1.0
"""Containers round their duration; only a file whose frames end this much earlier is cut off."""
_MAX_RATE: Final = 240.0
"""Frames a second; a header that says more counts ticks of a clock."""
_SLOW_RATE: Final = 10.0
"""An average below this, with some frames that are nearer to each other, is of slides or of a screen."""
_MARGINS_S: Final = (0.0, 5.0, 30.0)
"""How long before a stretch its decoding begins: the next is tried where no sound frame was met before it."""
_SETTLING_S: Final = 2.0
"""MPEG streams have a time stamp now and then; after a seek, those of the first frames are guesses."""
_LIMITS: Final = {"max_pixels": str(MAX_PIXELS)}
"""For FFmpeg's decoders: a header may claim any size."""
_STILLS: Final = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_PICTURE_CODECS: Final = frozenset(("mjpeg", "png", "webp", "gif", "bmp"))
"""Beside another stream, most likely a cover."""
_MERGED_S: Final = 2.0
"""Damage in places nearer to each other than this is one remark."""
_MAX_PLACES: Final = 4
"""Remarks on damage in one stretch; if there are more places, the last one sums up."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says."""

    duration_s: float | None
    """Of the pictures, not of the sound. None where nothing says it, and where the file can only be read from
    its beginning: it is raw, or its clock was set while it ran."""
    frames_per_s: float
    """The nominal frame rate, or that of the quickest frames; frame indices count at it."""


@dataclass(frozen=True, eq=False)
class SampledFrame:
    """One frame of a video."""

    index: int
    """Its number in the video, counted from 0 at the nominal frame rate."""
    image: NDArray[np.uint8]
    """RGB [H, W, 3] as it is to be shown: upright, of square pixels."""
    time_s: float
    """From the first frame."""


def probe_video(path: Path) -> VideoInfo:
    """Read a video's header; raises UnusableError when it has none or holds no pictures."""
    with _open(path) as video:
        return VideoInfo(video.duration_s if video.is_seekable else None, video.frames_per_s)


def sample_frames(
    path: Path, rate: float, start: int, stop: int | None, remarks: list[Remark] | None = None
) -> Iterator[SampledFrame]:
    """Samples ``start`` to ``stop`` (excluded; None: to the end) of a video, ``rate`` a second.

    Sample k is the first sound frame at or after k / rate seconds, if that is before (k + 1) / rate. Of two
    samples so near each other that they have one index, only the later is given. Decoding begins at the key
    frame before the first sample, so stretches of one file can be read side by side. Once all are read,
    ``remarks`` holds what is wrong with the stretch: ``damaged video`` with the number of lost frames,
    ``truncated video``, and from the first stretch what is odd in the header. Raises UnusableError if the
    file cannot be opened, holds no pictures, or none of them can be decoded.
    """
    walk = _Walk(path, start / rate, None if stop is None else stop / rate)
    renderer: FrameRenderer | None = None
    reached, last = start - 1, None
    for time_s, frame in walk.frames():
        sample = walk.sample_at(time_s, rate)
        if sample <= reached:
            continue
        reached, index = sample, round(time_s * walk.video.frames_per_s)
        if last is not None and last.index != index:
            yield last
        last = None
        if stop is not None and sample >= stop:  # the first sample of the next stretch
            break
        renderer = renderer or FrameRenderer(walk.video.pixel_aspect)
        last = SampledFrame(index, renderer.render(frame), time_s)
    if last is not None:
        yield last
    if remarks is not None:
        if renderer is not None and start == 0:
            remarks.extend(renderer.remarks())
        remarks.extend(walk.remarks(rate, start, stop))


@dataclass
class _Video:
    """An open file, its best stream, and what the header says of it."""

    container: InputContainer
    stream: VideoStream
    pixel_aspect: Fraction | None
    frames_per_s: float
    duration_s: float | None
    is_seekable: bool
    """Whether a time stamp leads to a place in the file."""

    def can_begin_at(self, start_s: float) -> bool:
        """Whether reading can begin anywhere but at the beginning."""
        return self.is_seekable and start_s > (_SETTLING_S if is_broadcast(self.container) else 0.0)

    def read_from(self, start_s: float) -> FrameReader:
        """A reader that begins at a key frame before a time; where there is no index, perhaps after it."""
        stream, step_s = self.stream, 1 / self.frames_per_s
        if self.can_begin_at(start_s):
            if is_broadcast(self.container):
                start_s -= _SETTLING_S
            place = (stream.start_time or 0) + math.floor(start_s / (stream.time_base or 1))
            try:
                self.container.seek(place, stream=stream)
            except av.FFmpegError:
                self.is_seekable = False
        clock = Clock(stream.start_time, stream.time_base, step_s, None)
        if not self.is_seekable:
            clock = Clock(None, stream.time_base, step_s, longest_step_s(self.container))
        return FrameReader(self.container, stream, clock)


@contextmanager
def _open(path: Path, is_strict: bool = False) -> Iterator[_Video]:
    """Open a file, told by its content; of its streams, the best.

    ``is_strict`` leaves a damaged frame out, instead of painting over what is missing.
    """
    with _open_container(path) as container:
        stream = _best_stream(container)
        stream.codec_context.thread_count = 1  # ingest runs a process per core
        stream.codec_context.options = {**_LIMITS, **({"err_detect": "explode"} if is_strict else {})}
        duration_s, is_seekable = _duration_s(container, stream), stream.start_time is not None
        if container.format.name == "avi":  # its index is all it knows of time
            is_seekable &= stream.frames in (0, len(stream.index_entries))
        elif not has_time_stamps(container):
            duration_s, is_seekable = None, False
        elif may_jump(container):
            with _open_container(path) as other:
                if not is_steady(other, _best_stream(other)):
                    duration_s, is_seekable = None, False
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        yield _Video(container, stream, aspect, _frames_per_s(stream), duration_s, is_seekable)


def _open_container(path: Path) -> InputContainer:
    try:
        if path.exists() and not path.is_file():
            raise UnusableError("unreadable", "not a regular file")
        with path.open("rb") as file:
            # By its number: FFmpeg would take a meaning from names such as "http:..." and "%03d.png".
            options = {**_LIMITS, "fd": str(file.fileno()), "protocol_whitelist": "fd"}
            return av.open("fd:", "r", options=options, metadata_errors="replace", timeout=_TIMEOUT_S)
    except av.FFmpegError as error:  # first: some of them call themselves an OSError
        why = f"{error.strerror}; it may be cut off or of another format"
        raise UnusableError("not a video", why) from error
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error


def _best_stream(container: InputContainer) -> VideoStream:
    """The largest, then the longest; never a cover or a thumbnail, and a still only if it is all there is."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & _STILLS
        and stream.codec_context is not None
        and stream.width * stream.height
    ]
    if not streams:
        raise UnusableError("not a video", "it holds no pictures")

    def rank(stream: VideoStream) -> tuple[bool, int, float]:
        is_still = stream.frames == 1 or (stream.frames == 0 and stream.codec_context.name in _PICTURE_CODECS)
        return not is_still, stream.width * stream.height, _duration_s(container, stream) or 0.0

    best = max(streams, key=rank)
    if best.width * best.height > MAX_PIXELS:
        raise UnusableError("too many pixels", f"{best.width} x {best.height} a frame")
    return best


def _frames_per_s(stream: VideoStream) -> float:
    average, guessed = float(stream.average_rate or 0), float(stream.guessed_rate or 0)
    # Frames that are shown for seconds lower the average below any rate at which frames can be counted. The
    # guessed rate may be twice the true one (fields), or a clock's; or the average, if times are irregular.
    if 2.5 * average < guessed <= _MAX_RATE:
        return guessed
    finest = float(stream.base_rate or 0)
    if 2.5 * average < finest and 0 < average < _SLOW_RATE:
        return min(finest, _MAX_RATE)
    return average or guessed or 30.0


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the pictures last; if only the whole file's duration is known, that."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska says when a track and the file end, others how long they are.
    is_end = container.format.name.startswith("matroska")
    start_s = float((stream.start_time or 0) * (stream.time_base or 0)) if is_end else 0.0
    if is_end and (tag := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))):
        hours, minutes, seconds = map(float, tag.groups())
        return max(3600 * hours + 60 * minutes + seconds - start_s, 0.0)
    return None if container.duration is None else max(container.duration / av.time_base - start_s, 0.0)


class _Walk:
    """The sound frames of a stretch.

    Once damage is met in H.264, they are decoded again and damaged frames are left out altogether: later ones
    then refer to an earlier frame instead of to rubbish, and of a still scene all are right. It is not done
    before, as that also leaves out frames of files that are a little odd, nor for other codecs, which then
    lose more.
    """

    def __init__(self, path: Path, start_s: float, stop_s: float | None) -> None:
        self._path, self._start_s, self._stop_s = path, start_s, stop_s
        self._read_before_s: float | None = None
        self.video: _Video
        self._reader: FrameReader

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Frames with their times, and some that come before the stretch; up to the first one after it."""
        last_s: float | None = None
        for is_strict in (False, True):
            self._read_before_s, can_repeat = last_s, False
            for time_s, frame in self._decode(self._start_s if last_s is None else last_s, is_strict):
                can_repeat = not is_strict and self.video.stream.codec_context.name == "h264"
                if self._reader.gaps and can_repeat:
                    break
                if last_s is None or time_s > last_s:
                    last_s = time_s
                    yield time_s, frame
            if not (self._reader.gaps and can_repeat):
                break
        if last_s is None and self._reader.has_ended and self._start_s == 0:
            raise UnusableError("damaged video", "none of its frames can be decoded")

    def _decode(self, start_s: float, is_strict: bool) -> Iterator[tuple[float, VideoFrame]]:
        """From the first beginning that leads to a sound frame before the stretch."""
        for margin_s in (*_MARGINS_S, math.inf):
            with _open(self._path, is_strict) as self.video:
                self._reader = reader = self.video.read_from(start_s - margin_s)
                frames = reader.frames(self._stop_s)
                first = next(frames, None)
                packet_s, first_s = reader.first_packet_s, math.inf if first is None else first[0]
                if (
                    first_s <= start_s
                    or (packet_s is None and reader.has_ended)  # the file ends before the stretch
                    or (packet_s is not None and packet_s <= start_s and margin_s == _MARGINS_S[-1])
                    or not self.video.can_begin_at(start_s - margin_s)
                ):
                    if first is not None:
                        yield first
                        yield from frames
                    return

    def sample_at(self, time_s: float, rate: float) -> int:
        """The number of the last sample before a time, at ``rate`` a second."""
        # Half a frame of tolerance: 1/30 s and 3003/90000 s are the same moment.
        return math.floor((time_s + 0.5 / self.video.frames_per_s) * rate)

    def remarks(self, rate: float, start: int, stop: int | None) -> Iterator[Remark]:
        """What is wrong with the stretch; of a file that is read in stretches, one remarks each loss."""

        known_s = -math.inf if self._read_before_s is None else self._read_before_s

        def is_here(time_s: float) -> bool:
            sample = self.sample_at(time_s, rate)
            return start <= sample and (stop is None or sample < stop)

        reader = self._reader
        cut_s = reader.cut_s if reader.has_ended else None
        gaps = [
            Gap(lost_s, max(gap.after_s, known_s), gap.before_s)
            for gap in reader.gaps
            if (
                lost_s := tuple(
                    time_s
                    for time_s in gap.lost_s
                    if time_s > known_s and time_s != cut_s and is_here(time_s)
                )
            )
        ]
        yield from _describe_damage(gaps)
        if not reader.has_ended or reader.last_packet_s is None or not is_here(reader.last_packet_s):
            return
        # A last frame may be shown for long, and not every container says how long.
        end_s = max(reader.end_s, (self.sample_at(reader.last_packet_s, rate) + 1) / rate)
        duration_s = self.video.duration_s or 0.0
        if max(end_s, reader.other_end_s) < duration_s - _SHORTFALL_S:
            yield Remark("truncated video", f"frames end before {end_s:.1f} s of {duration_s:.1f} s")
        elif cut_s is not None:
            yield Remark("truncated video", f"it breaks off at {cut_s:.1f} s")


def _describe_damage(gaps: list[Gap]) -> Iterator[Remark]:
    """One remark for each place of damage, of which the last sums up what is too much."""
    places: list[list[Gap]] = []
    for gap in gaps:
        is_near = bool(places) and gap.after_s - places[-1][-1].before_s < _MERGED_S
        if places and (is_near or len(places) == _MAX_PLACES):
            places[-1].append(gap)
        else:
            places.append([gap])
    for place in places:
        lost = sum(len(gap.lost_s) for gap in place)
        where = f"between {place[0].after_s:.1f} and {place[-1].before_s:.1f} s"
        yield Remark("damaged video", f"{where}: {lost} frame{'' if lost == 1 else 's'} lost", lost)

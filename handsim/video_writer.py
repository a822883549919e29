"""Writing pictures as an MP4 file, for people to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.files import replacing

_CODECS: Final = ("libx264", "mpeg4")
"""The first that FFmpeg was built with is taken: H.264 plays everywhere, MPEG-4 part 2 is always there."""
_OPTIONS: Final = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qmin": "2", "qmax": "6"}}
_MAX_RATE: Final = 240.0
_TIME_BASE: Final = Fraction(1, 10_000)
"""In which times are written, in seconds: finer than frames follow each other."""


class VideoWriter:
    """A video that is being written: pictures with their times. It has the size of the first."""

    def __init__(self, path: Path, container: OutputContainer, frames_per_s: float) -> None:
        """``frames_per_s`` is only for the header and the last picture; times say when each is shown."""
        self._path, self._container = path, container
        self._rate = Fraction(min(max(frames_per_s, 1e-3), _MAX_RATE)).limit_denominator(1001)
        self._stream: VideoStream | None = None
        self._last = -1

    def add(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Show a picture [H, W, 3] (RGB) from a time on, which is after all others."""
        if self._stream is None:
            self._stream = self._begin(image.shape[1], image.shape[0])
        stream = self._stream
        # An odd last row or column is left out; pictures of another size than the first are stretched.
        height, width = (max(side // 2 * 2, 1) for side in image.shape[:2])
        pixels = np.ascontiguousarray(image[:height, :width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(stream.width, stream.height, format="yuv420p")
        self._last = max(self._last + 1, round(time_s / _TIME_BASE))
        frame.pts, frame.time_base = self._last, _TIME_BASE
        with _explaining(self._path):
            self._container.mux(stream.encode(frame))

    def _begin(self, width: int, height: int) -> VideoStream:
        codec = next(name for name in _CODECS if name in av.codec.codecs_available)
        stream = self._container.add_stream(codec, rate=self._rate, options=_OPTIONS[codec])
        assert isinstance(stream, av.VideoStream)
        # Colours have half the resolution, so that sides are even.
        stream.width, stream.height = max(2, width // 2 * 2), max(2, height // 2 * 2)
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _TIME_BASE
        return stream

    def finish(self) -> None:
        """Write what the encoder still holds."""
        assert self._stream is not None
        with _explaining(self._path):
            self._container.mux(self._stream.encode())


@contextmanager
def writing_video(path: Path, frames_per_s: float) -> Iterator[VideoWriter]:
    """A writer of an MP4 file, which takes its place at ``path`` once the block has ended without error.

    Add one picture at least. Raises HandsimError where the file cannot be written.
    """
    with _explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        with _explaining(path):
            container = av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"})
        writer = VideoWriter(path, container, frames_per_s)
        try:
            yield writer
            writer.finish()
        finally:
            with _explaining(path):
                container.close()


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise HandsimError(f"{path} cannot be written ({why}); name another --out") from error
